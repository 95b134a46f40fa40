//! What a sink does with a record beside the effect itself: it reads the journal, records attempts,
//! and defers or dead-letters the record.

use std::{sync::Arc, time::Duration};

use formline_core::event;
use jiff::Timestamp;

use super::{
    attempt::{Attempt, DeliveryStatus},
    entry::{AttemptOutcome, JournalEntry},
    journal::Journal,
};
use crate::{
    engine::{
        context::SinkContext,
        dead_letter_queue::{DeadLetter, DeadLetterQueue},
        metrics::SinkMetrics,
    },
    error::Error,
};

/// Tracks the attempts of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AttemptTracker {
    pub(super) journal: Journal,
    metrics: SinkMetrics,
    dead_letters: DeadLetterQueue,
    retries_topic: Arc<str>,
    schedule: Arc<[Duration]>,
}

/// Why an attempt had no effect, or none that is known.
#[derive(Debug)]
pub(crate) struct AttemptFailure {
    /// For logs, health and the journal. It contains nothing of the submission.
    pub(crate) cause: String,
    /// The answer of the other side, for the dead letter, which contains the submission anyway.
    pub(crate) response: String,
    /// The delay that the other side asks for.
    pub(crate) retry_after: Option<Duration>,
}

// === impl AttemptTracker ===

impl AttemptTracker {
    pub(crate) fn of(context: &SinkContext) -> Self {
        let (sink, dead_letters) = (&context.sink, context.dead_letters.clone());
        let producer = dead_letters.producer.clone();
        Self {
            journal: Journal::of(sink, context.client.clone(), producer),
            metrics: dead_letters.metrics.clone(),
            retries_topic: sink.retries_topic().unwrap_or_default().into(),
            schedule: sink.kind.schedule().into(),
            dead_letters,
        }
    }

    /// The status of a record that needs no attempt, according to the entry that counts: it is
    /// meant for another group, it has had its effect, or it waits elsewhere. If the record was
    /// about to be dead-lettered, that is completed.
    ///
    /// # Errors
    /// If the dead-letter topic will never accept the record.
    pub(crate) async fn known_status(
        &self,
        attempt: &Attempt,
        last: Option<&JournalEntry>,
    ) -> Result<Option<DeliveryStatus>, Error> {
        if !event::is_for(&attempt.record, &self.dead_letters.sink.group()) {
            return Ok(Some(DeliveryStatus::Done));
        }
        let Some(entry) = last else {
            return Ok(None);
        };
        if entry.outcome == AttemptOutcome::DeadLettered {
            let (reason, detail) = (entry.reason.clone(), entry.detail.clone());
            let status = self.send_dead_letter(attempt, reason, detail).await?;
            return Ok(Some(status));
        }
        let waits = entry.outcome == AttemptOutcome::Deferred && entry.attempt == attempt.number;
        if entry.is_final() || waits || entry.attempt > attempt.number {
            self.metrics.records("known", 1);
            return Ok(Some(DeliveryStatus::Done));
        }
        Ok(None)
    }

    /// The value of the label `sink`.
    pub(crate) fn sink(&self) -> &str {
        self.metrics.sink()
    }

    /// Reports in the sink's health why attempts fail.
    pub(crate) fn report_waiting(&self, cause: String) {
        self.dead_letters.producer.health.waiting(cause);
    }

    /// Writes an entry into the journal. Returns false if Kafka was unavailable until the shutdown:
    /// then the outcome of the attempt is unknown.
    ///
    /// # Errors
    /// If the journal will never accept the entry.
    pub(crate) async fn write(
        &self,
        attempt: &Attempt,
        entry: JournalEntry,
    ) -> Result<bool, Error> {
        self.journal.write(attempt, entry).await
    }

    /// Records the final outcome.
    ///
    /// # Errors
    /// If the journal will never accept the entry.
    pub(crate) async fn finish(
        &self,
        attempt: &Attempt,
        outcome: AttemptOutcome,
        unknown_outcomes: u32,
    ) -> Result<DeliveryStatus, Error> {
        self.dead_letters.producer.health.ready();
        let entry = JournalEntry::now(outcome, attempt, unknown_outcomes);
        if !self.write(attempt, entry).await? {
            return Ok(DeliveryStatus::Stopped);
        }
        let label = match outcome {
            AttemptOutcome::Unknown => "uncertain",
            _ => "written",
        };
        self.metrics.records(label, 1);
        let accepted = attempt.accepted.as_microsecond();
        self.metrics.written(std::iter::once(accepted));
        Ok(DeliveryStatus::Done)
    }

    /// Defers the record until its next attempt; dead-letters it if this was the last.
    ///
    /// The record is written into the retries topic first, and the entry after it: a crash between
    /// the two causes a second chain of attempts, and the other order would lose the record.
    ///
    /// # Errors
    /// If a topic will never accept what is written.
    pub(crate) async fn defer(
        &self,
        attempt: &Attempt,
        unknown_outcomes: u32,
        failure: AttemptFailure,
    ) -> Result<DeliveryStatus, Error> {
        let AttemptFailure {
            cause,
            response,
            retry_after,
        } = failure;
        let now = Timestamp::now();
        let Some(next) = attempt.next(&self.schedule, unknown_outcomes, retry_after, now) else {
            return self
                .dead_letter(attempt, "exhausted", cause, response)
                .await;
        };
        let outgoing = || attempt.deferred(&next, &self.retries_topic);
        let written = self.dead_letters.producer.send(outgoing).await;
        let written = written.map_err(|source| Error::Retries {
            topic: self.retries_topic.to_string(),
            source,
        })?;
        let entry = JournalEntry::now(AttemptOutcome::Deferred, attempt, unknown_outcomes);
        if !written || !self.write(attempt, entry.with_detail(cause)).await? {
            return Ok(DeliveryStatus::Stopped);
        }
        self.metrics.records("put-off", 1);
        Ok(DeliveryStatus::Done)
    }

    /// Dead-letters the record. The entry is written first: after a crash between the two, the
    /// record is dead-lettered and not tried again.
    ///
    /// # Errors
    /// If a topic will never accept what is written.
    pub(crate) async fn dead_letter(
        &self,
        attempt: &Attempt,
        reason: &str,
        cause: impl Into<String>,
        response: impl Into<String>,
    ) -> Result<DeliveryStatus, Error> {
        let entry = JournalEntry::now(AttemptOutcome::DeadLettered, attempt, 0);
        let entry = JournalEntry {
            reason: reason.to_owned(),
            ..entry.with_detail(cause)
        };
        if !self.write(attempt, entry).await? {
            return Ok(DeliveryStatus::Stopped);
        }
        self.send_dead_letter(attempt, reason.to_owned(), response.into())
            .await
    }

    async fn send_dead_letter(
        &self,
        attempt: &Attempt,
        reason: String,
        detail: String,
    ) -> Result<DeliveryStatus, Error> {
        let letter = DeadLetter {
            record: attempt.record.clone(),
            reason: reason.into(),
            detail,
            attempts: attempt.number,
        };
        Ok(match self.dead_letters.send(&letter).await? {
            true => DeliveryStatus::Done,
            false => DeliveryStatus::Stopped,
        })
    }
}

// === impl AttemptFailure ===

impl AttemptFailure {
    /// A failure whose cause may be shown everywhere.
    pub(crate) fn public(cause: impl Into<String>, retry_after: Option<Duration>) -> Self {
        let cause = cause.into();
        Self {
            response: cause.clone(),
            cause,
            retry_after,
        }
    }
}
