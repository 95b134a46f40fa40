//! The interface `input`: the cursor over the current batch.

use std::time::Duration;

use formline_plugin_contract::{LONGEST_RETRY, rejection_code};

use crate::{
    batch::{DeadLetterReason, EventOutcome},
    plugin::{
        bindings::formline::plugin::{
            input::{BatchInfo, Event, Host, Rejection},
            types::RejectKind,
        },
        host_state::{HostState, NO_EVENT},
    },
};

// === impl HostState ===

impl Host for HostState {
    fn info(&mut self) -> wasmtime::Result<BatchInfo> {
        let batch = self.batch()?;
        let (first_offset, size) = batch.extent();
        Ok(BatchInfo {
            port: batch.source.port.to_string(),
            topic: batch.source.partition.topic.to_string(),
            partition: batch.source.partition.number,
            first_offset,
            size: u32::try_from(size).unwrap_or(u32::MAX),
        })
    }

    fn next(&mut self) -> wasmtime::Result<Option<Event>> {
        let (batch, stores) = self.batch_and_stores()?;
        let event = batch.next(stores).map(|event| Event {
            offset: event.record.offset,
            timestamp_ms: event.record.timestamp_ms,
            key: event.record.key().map(<[u8]>::to_vec),
            value: event.record.value().unwrap_or_default().to_vec(),
            attempt: event.attempts,
        });
        // Only an event restarts the time limit. Otherwise a plug-in that keeps calling `next` at
        // the end of the batch would never be stopped.
        if event.is_some() {
            self.restart_time();
        }
        Ok(event)
    }

    fn header(&mut self, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        let event = self.batch()?.event().ok_or(NO_EVENT)?;
        Ok(event.record.header(&name).map(<[u8]>::to_vec))
    }

    fn skip(&mut self, reason: String) -> wasmtime::Result<()> {
        tracing::debug!(step = &*self.step, reason, "the plug-in skipped an event");
        self.complete(EventOutcome::Skipped)
    }

    fn reject(&mut self, why: Rejection) -> wasmtime::Result<()> {
        let event = self.batch()?.event().ok_or(NO_EVENT)?;
        let attempts = event.attempts + 1;
        let kind = kind(why.kind);
        self.complete(EventOutcome::DeadLettered(DeadLetterReason {
            kind,
            code: rejection_code(&why.code, kind).to_owned(),
            detail: why.detail,
            attempts,
        }))
    }

    fn retry_later(&mut self, after_ms: u32, reason: String) -> wasmtime::Result<()> {
        tracing::debug!(
            step = &*self.step,
            after_ms,
            reason,
            "the plug-in deferred an event"
        );
        let (batch, stores) = self.batch_and_stores()?;
        let after = Duration::from_millis(after_ms.into()).min(LONGEST_RETRY);
        if batch.retry_later(after, stores) {
            Ok(())
        } else {
            Err(NO_EVENT.into())
        }
    }
}

impl HostState {
    /// Rolls the current event back and completes it with this outcome.
    fn complete(&mut self, outcome: EventOutcome) -> wasmtime::Result<()> {
        let (batch, stores) = self.batch_and_stores()?;
        if batch.reject(outcome, stores) {
            Ok(())
        } else {
            Err(NO_EVENT.into())
        }
    }
}

fn kind(kind: RejectKind) -> &'static str {
    match kind {
        RejectKind::Malformed => "malformed",
        RejectKind::UnsupportedVersion => "unsupported-version",
        RejectKind::ViolatesInvariant => "violates-invariant",
        RejectKind::TooLarge => "too-large",
        RejectKind::Other => "other",
    }
}
