//! What an instance sees of the host: its batch and its stores, within its limits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    bindings::Descriptor,
    console::Console,
    failure::{DeadlineOver, Misuse},
    limits::Limits,
    wasi::Wasi,
};
use crate::{
    batch::{Batch, Refused},
    state::Stores,
};

/// The data of one instance's wasmtime store.
pub(crate) struct Host {
    pub(super) step: Arc<str>,
    pub(super) declared: Arc<Descriptor>,
    pub(super) limits: Limits,
    pub(super) wasi: Wasi,
    pub(super) console: Console,
    /// The batch at hand; none outside of `process`.
    pub(super) batch: Option<Batch>,
    /// The partition's stores, lent for the time of a call.
    pub(super) stores: Stores,
    pub(super) now_ms: i64,
    /// When the plug-in is interrupted. None until the first tick of an event's time.
    deadline: Option<Instant>,
    event_time: Duration,
}

/// An output port in a plug-in's hands. Its handle is the port's index among the declared outputs, so that no table is
/// needed: a plug-in can only present handles that it was given.
#[derive(Debug)]
#[allow(unreachable_pub)] // the generated bindings name it in a `pub use`
pub enum Port {}

/// A store in a plug-in's hands; as `Port`.
#[derive(Debug)]
#[allow(unreachable_pub)]
pub enum Store {}

// === impl Host ===

impl Host {
    /// `memory` in bytes; `seed` decides what the plug-in takes for random.
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
            limits: Limits::new(memory),
            wasi: Wasi::new(seed, &console),
            console,
            batch: None,
            stores: Stores::default(),
            now_ms: 0,
            deadline: None,
            event_time: Duration::ZERO,
        }
    }

    /// Gives the plug-in so much time from now on for each event.
    pub(super) fn set_time(&mut self, now_ms: i64, each_event: Duration) {
        self.now_ms = now_ms;
        self.wasi.set_clock(now_ms);
        self.event_time = each_event;
        self.restart_time();
    }

    /// The time of the next event begins, with the first tick that finds it. Most events are done before one does, and
    /// cost no look at a clock.
    pub(super) fn restart_time(&mut self) {
        self.deadline = None;
    }

    /// Asked at every tick while the plug-in runs.
    pub(super) fn check_time(&mut self) -> wasmtime::Result<()> {
        let now = Instant::now();
        if let Some(batch) = &mut self.batch {
            batch.check_time(now);
        }
        let deadline = *self.deadline.get_or_insert(now + self.event_time);
        if now <= deadline {
            Ok(())
        } else {
            Err(DeadlineOver.into())
        }
    }

    pub(super) fn batch(&mut self) -> wasmtime::Result<&mut Batch> {
        self.batch.as_mut().ok_or_else(|| OUTSIDE.into())
    }

    /// The batch and the stores, for what changes both.
    pub(super) fn work(&mut self) -> wasmtime::Result<(&mut Batch, &mut Stores)> {
        let batch = self.batch.as_mut().ok_or(OUTSIDE)?;
        Ok((batch, &mut self.stores))
    }

    /// Counts bytes to be stored. False if the event has stored and sent too much.
    pub(super) fn charge(&mut self, bytes: usize) -> wasmtime::Result<bool> {
        match self.batch()?.charge(bytes) {
            Ok(()) => Ok(true),
            Err(Refused::NoEvent) => Err(NO_EVENT.into()),
            Err(Refused::Quota | Refused::TooLarge) => Ok(false),
        }
    }
}

pub(super) const OUTSIDE: Misuse =
    Misuse("the import may be called only while a batch is processed");
pub(super) const NO_EVENT: Misuse =
    Misuse("there is no current event; call the import between next and the settling of the event");
