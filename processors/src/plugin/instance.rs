//! A running plug-in: one for each partition that a worker owns.

use std::{sync::Arc, time::Duration};

use formline_core::app::Step;
use jiff::Timestamp;

use super::{
    component::Plugin,
    console::Console,
    failure::Failure,
    guest::{Guest, INIT_TIME},
    host_state::HostState,
};
use crate::{
    batch::Batch,
    state::{self, Stores},
};

/// A plug-in that has been initialised. After a failure it must be dropped.
pub(crate) struct Instance(Guest);

/// The step and partition that an instance works on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assignment<'a> {
    pub(crate) step: &'a Arc<Step>,
    /// Number of the partition.
    pub(crate) partition: i32,
}

// === impl Instance ===

impl Instance {
    /// Starts the plug-in for a partition.
    pub(crate) fn start(
        plugin: &Plugin,
        assignment: Assignment<'_>,
        stores: &mut Stores,
    ) -> Result<Self, Failure> {
        let Assignment { step, partition } = assignment;
        let name = step.title();
        let seed = format!("{} {name} {partition}", plugin.declared.name);
        let console = Console::new(&name, &plugin.label);
        let declared = Arc::clone(&plugin.declared);
        let host = HostState::new(&step.name, step.limits.memory, declared, console, &seed);
        let mut instance = Self(Guest::instantiate(&plugin.engine, &plugin.code, host)?);
        state::lend(stores, &mut instance, Self::stores, |own| {
            own.init(&step.config.to_string())
        })?;
        Ok(instance)
    }

    /// Processes a batch. After a failure the batch records how far the plug-in got, and the caller
    /// must roll back the stores.
    pub(crate) fn process(
        &mut self,
        batch: Batch,
        stores: &mut Stores,
        each_event: Duration,
    ) -> (Batch, Result<(), Failure>) {
        self.process_at(Timestamp::now(), batch, stores, each_event)
    }

    /// Like [`process`](Self::process), with a wall clock that shows `now`.
    pub(crate) fn process_at(
        &mut self,
        now: Timestamp,
        batch: Batch,
        stores: &mut Stores,
        each_event: Duration,
    ) -> (Batch, Result<(), Failure>) {
        let host = self.0.store.data_mut();
        host.set_time(now.as_millisecond(), each_event);
        host.batch = Some(batch);
        let result = state::lend(stores, self, Self::stores, Self::call);
        let host = self.0.store.data_mut();
        let batch = host.batch.take().expect("only this function takes it");
        let result = result.and_then(|()| check_complete(&batch));
        (batch, result)
    }

    /// Migrates an entry of a store to the plug-in's own schema version. None deletes the entry.
    pub(crate) fn migrate(
        &mut self,
        (store, from_version): (&str, u32),
        (key, value): (&[u8], &[u8]),
        time: Duration,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let now_ms = Timestamp::now().as_millisecond();
        let guest = &mut self.0;
        guest.store.data_mut().set_time(now_ms, time);
        let exports = guest.exports.formline_plugin_plugin();
        match exports.call_migrate(&mut guest.store, store, from_version, key, value) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(detail)) => Err(Failure::new("migration", detail)),
            Err(error) => Err(guest.failure(&error)),
        }
    }

    fn stores(&mut self) -> &mut Stores {
        &mut self.0.store.data_mut().stores
    }

    fn init(&mut self, config: &str) -> Result<(), Failure> {
        let guest = &mut self.0;
        let now_ms = Timestamp::now().as_millisecond();
        guest.store.data_mut().set_time(now_ms, INIT_TIME);
        let exports = guest.exports.formline_plugin_plugin();
        match exports.call_init(&mut guest.store, config) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let detail = format!("{}: {}", error.code, error.detail);
                Err(Failure::new("init", detail))
            }
            Err(error) => Err(guest.failure(&error)),
        }
    }

    fn call(&mut self) -> Result<(), Failure> {
        let guest = &mut self.0;
        let exports = guest.exports.formline_plugin_plugin();
        match exports.call_process(&mut guest.store) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(detail)) => Err(Failure::new("error", detail)),
            Err(error) => Err(guest.failure(&error)),
        }
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").finish_non_exhaustive()
    }
}

/// A call that returned must have made progress, and must not leave an event incomplete.
fn check_complete(batch: &Batch) -> Result<(), Failure> {
    if batch.is_incomplete() {
        let detail =
            "process returned while an event was incomplete; call `next` until it returns none";
        return Err(Failure::new("unsettled", detail));
    }
    if !batch.has_progress() {
        let detail = "process returned without calling `next`";
        return Err(Failure::new("idle", detail));
    }
    Ok(())
}
