//! A running plug-in: one for each partition that a worker holds.

use std::{sync::Arc, time::Duration};

use formline_core::app::{Limits, Step};
use jiff::Timestamp;
use wasmtime::{Store, UpdateDeadline};

use super::{
    bindings::{Descriptor, Processor, ProcessorPre},
    component::{DESCRIBE_TIME, Plugin},
    console::Console,
    engine::Engine,
    failure::Failure,
    host::Host,
};
use crate::{
    batch::Batch,
    state::{self, Stores},
};

/// A plug-in that has been initialised. After a failure it must be dropped.
pub(crate) struct Instance {
    store: Store<Host>,
    exports: Processor,
}

/// Which instance of a step it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) step: &'a Arc<Step>,
    /// Number of the partition.
    pub(crate) partition: i32,
}

/// Bytes that one call may hand to the host, a guard against lists without end. Above the largest record.
const CALL_BYTES: usize = 4 << 20;

/// Time for `init`: it may build tables that events then use.
const INIT_TIME: Duration = Duration::from_secs(5);

// === impl Instance ===

impl Instance {
    /// Starts the plug-in for a partition.
    pub(crate) fn start(
        plugin: &Plugin,
        place: Place<'_>,
        stores: &mut Stores,
    ) -> Result<Self, Failure> {
        let Place { step, partition } = place;
        let name = step.title();
        let seed = format!("{} {name} {partition}", plugin.declared.name);
        let console = Console::new(&name, &plugin.label);
        let declared = Arc::clone(&plugin.declared);
        let host = Host::new(&step.name, step.limits.memory, declared, console, &seed);
        let store = new_store(&plugin.engine, host);
        let mut instance = instantiate(store, &plugin.code)?;
        state::lend(
            stores,
            &mut instance,
            |own| &mut own.store.data_mut().stores,
            |own| own.init(&step.config.to_string()),
        )?;
        Ok(instance)
    }

    /// Lets the plug-in work through a batch. After a failure the batch says how far it came, and the stores have to be
    /// rolled back by the caller.
    pub(crate) fn process(
        &mut self,
        batch: Batch,
        stores: &mut Stores,
        each_event: Duration,
    ) -> (Batch, Result<(), Failure>) {
        self.process_at(Timestamp::now(), batch, stores, each_event)
    }

    /// The same with a wall clock that stands at `now`.
    pub(crate) fn process_at(
        &mut self,
        now: Timestamp,
        batch: Batch,
        stores: &mut Stores,
        each_event: Duration,
    ) -> (Batch, Result<(), Failure>) {
        let host = self.store.data_mut();
        host.set_time(now.as_millisecond(), each_event);
        host.batch = Some(batch);
        let result = state::lend(
            stores,
            self,
            |own| &mut own.store.data_mut().stores,
            Self::call,
        );
        let batch = self
            .store
            .data_mut()
            .batch
            .take()
            .expect("nothing else takes it");
        let result = result.and_then(|()| complete(&batch));
        (batch, result)
    }

    /// Lets the plug-in bring an entry of a store to its own schema version. None deletes the entry.
    pub(crate) fn migrate(
        &mut self,
        (store, from_version): (&str, u32),
        (key, value): (&[u8], &[u8]),
        time: Duration,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let now_ms = Timestamp::now().as_millisecond();
        self.store.data_mut().set_time(now_ms, time);
        let exports = self.exports.formline_plugin_plugin();
        match exports.call_migrate(&mut self.store, store, from_version, key, value) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(detail)) => Err(Failure::new("migration", detail)),
            Err(error) => Err(failure(&self.store, &error)),
        }
    }

    fn init(&mut self, config: &str) -> Result<(), Failure> {
        self.store
            .data_mut()
            .set_time(Timestamp::now().as_millisecond(), INIT_TIME);
        let called = self
            .exports
            .formline_plugin_plugin()
            .call_init(&mut self.store, config);
        match called {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::new(
                "init",
                format!("{}: {}", error.code, error.detail),
            )),
            Err(error) => Err(failure(&self.store, &error)),
        }
    }

    fn call(&mut self) -> Result<(), Failure> {
        match self
            .exports
            .formline_plugin_plugin()
            .call_process(&mut self.store)
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(detail)) => Err(Failure::new("error", detail)),
            Err(error) => Err(failure(&self.store, &error)),
        }
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").finish_non_exhaustive()
    }
}

/// Asks a plug-in what it is, in an instance of its own with small limits.
pub(super) fn describe(engine: &Engine, code: &ProcessorPre<Host>) -> Result<Descriptor, Failure> {
    let nobody = Descriptor {
        name: String::new(),
        version: String::new(),
        summary: String::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        stores: Vec::new(),
        config_schema: String::new(),
        counters: Vec::new(),
    };
    let memory = Limits::default().memory;
    let host = Host::new(
        "",
        memory,
        Arc::new(nobody),
        Console::new("", "describe"),
        "",
    );
    let mut instance = instantiate(new_store(engine, host), code)?;
    instance.store.data_mut().set_time(0, DESCRIBE_TIME);
    let described = instance
        .exports
        .formline_plugin_plugin()
        .call_describe(&mut instance.store);
    described.map_err(|error| failure(&instance.store, &error))
}

fn new_store(engine: &Engine, host: Host) -> Store<Host> {
    let mut store = Store::new(&engine.wasm, host);
    store.limiter(|host| &mut host.limits);
    store.set_hostcall_fuel(CALL_BYTES);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| {
        store.data_mut().check_time()?;
        Ok(UpdateDeadline::Continue(1))
    });
    store
}

fn instantiate(mut store: Store<Host>, code: &ProcessorPre<Host>) -> Result<Instance, Failure> {
    store.data_mut().set_time(0, INIT_TIME);
    match code.instantiate(&mut store) {
        Ok(exports) => Ok(Instance { store, exports }),
        Err(error) => Err(failure(&store, &error)),
    }
}

fn failure(store: &Store<Host>, error: &wasmtime::Error) -> Failure {
    let host = store.data();
    Failure::of(
        error,
        host.limits.was_refused(),
        &host.console.take_printed(),
    )
}

/// A call that returned must have done something, and must not leave an event behind.
fn complete(batch: &Batch) -> Result<(), Failure> {
    if batch.is_unsettled() {
        let detail = "process has returned before the event was settled; ask for the next one until there is none";
        return Err(Failure::new("unsettled", detail));
    }
    if !batch.has_progress() {
        return Err(Failure::new(
            "idle",
            "process has returned without asking for an event",
        ));
    }
    Ok(())
}
