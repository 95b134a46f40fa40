//! What one instance can access in the host: its batch, its stores and its part of WASI.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime_wasi::{WasiCtxView, WasiView};

use super::{
    bindings::Descriptor,
    console::Console,
    failure::{DeadlineExceeded, Misuse},
    limits::ResourceLimits,
    wasi::Wasi,
};
use crate::{
    batch::{Batch, BatchError},
    state::Stores,
};

/// The data of one instance's wasmtime store.
pub(crate) struct HostState {
    pub(super) step: Arc<str>,
    pub(super) declared: Arc<Descriptor>,
    pub(super) limits: ResourceLimits,
    pub(super) wasi: Wasi,
    pub(super) console: Console,
    /// The current batch; none outside of `process`.
    pub(super) batch: Option<Batch>,
    /// The partition's stores, lent for the duration of a call.
    pub(super) stores: Stores,
    pub(super) now_ms: i64,
    /// When the plug-in is interrupted. None until the first tick within an event's time.
    deadline: Option<Instant>,
    event_time: Duration,
}

// === impl HostState ===

impl HostState {
    /// `memory` is in bytes; `seed` determines the random numbers that the plug-in receives.
    pub(super) fn new(
        step: &str,
        memory: usize,
        declared: Arc<Descriptor>,
        console: Console,
        seed: &str,
    ) -> Self {
        Self {
            step: step.into(),
            declared,
            limits: ResourceLimits::new(memory),
            wasi: Wasi::new(seed, &console),
            console,
            batch: None,
            stores: Stores::default(),
            now_ms: 0,
            deadline: None,
            event_time: Duration::ZERO,
        }
    }

    /// Sets the clock, and the time that the plug-in has for each event from now on.
    pub(super) fn set_time(&mut self, now_ms: i64, each_event: Duration) {
        self.now_ms = now_ms;
        self.wasi.set_clock(now_ms);
        self.event_time = each_event;
        self.restart_time();
    }

    /// Restarts the time limit for the next event. The limit counts from the first tick that occurs
    /// during the event. Most events finish before a tick, and so never read the clock.
    pub(super) fn restart_time(&mut self) {
        self.deadline = None;
    }

    /// Called at every tick while the plug-in runs.
    pub(super) fn check_time(&mut self) -> wasmtime::Result<()> {
        let now = Instant::now();
        if let Some(batch) = &mut self.batch {
            batch.check_time(now);
        }
        let deadline = *self.deadline.get_or_insert(now + self.event_time);
        if now <= deadline {
            Ok(())
        } else {
            Err(DeadlineExceeded.into())
        }
    }

    pub(super) fn batch(&mut self) -> wasmtime::Result<&mut Batch> {
        self.batch.as_mut().ok_or_else(|| NO_BATCH.into())
    }

    /// The batch and the stores, for operations that change both.
    pub(super) fn batch_and_stores(&mut self) -> wasmtime::Result<(&mut Batch, &mut Stores)> {
        let batch = self.batch.as_mut().ok_or(NO_BATCH)?;
        Ok((batch, &mut self.stores))
    }

    /// Counts bytes to be stored. False if the event has stored and sent too much.
    pub(super) fn charge(&mut self, bytes: usize) -> wasmtime::Result<bool> {
        match self.batch()?.charge(bytes) {
            Ok(()) => Ok(true),
            Err(BatchError::NoEvent) => Err(NO_EVENT.into()),
            Err(BatchError::Quota | BatchError::TooLarge) => Ok(false),
        }
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.view()
    }
}

const NO_BATCH: Misuse = Misuse("the import may be called only while a batch is processed");
pub(super) const NO_EVENT: Misuse = Misuse(
    "there is no current event; call the import after `next` and before the event is completed",
);
