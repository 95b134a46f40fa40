//! A component in a wasmtime store of its own, with the limits of its calls.

use std::{sync::Arc, time::Duration};

use formline_core::app::Limits;
use wasmtime::{Store, UpdateDeadline};

use super::{
    bindings::{Descriptor, Processor, ProcessorPre},
    console::Console,
    engine::Engine,
    failure::Failure,
    host_state::HostState,
};

/// An instantiated component. After a failed call it must be dropped.
pub(super) struct Guest {
    pub(super) store: Store<HostState>,
    pub(super) exports: Processor,
}

/// Bytes that one call may pass to the host, as a protection against endless lists. Larger than the
/// largest record.
const CALL_BYTES: usize = 4 << 20;

/// Time for instantiation and for `init`, which may build tables that events then use.
pub(super) const INIT_TIME: Duration = Duration::from_secs(5);

/// Time for `describe`, which only assembles constants.
const DESCRIBE_TIME: Duration = Duration::from_secs(5);

// === impl Guest ===

impl Guest {
    pub(super) fn instantiate(
        engine: &Engine,
        code: &ProcessorPre<HostState>,
        host: HostState,
    ) -> Result<Self, Failure> {
        let mut store = new_store(engine, host);
        store.data_mut().set_time(0, INIT_TIME);
        match code.instantiate(&mut store) {
            Ok(exports) => Ok(Self { store, exports }),
            Err(error) => Err(failure(&store, &error)),
        }
    }

    /// Explains a call that has failed.
    pub(super) fn failure(&self, error: &wasmtime::Error) -> Failure {
        failure(&self.store, error)
    }
}

/// Asks a plug-in for its description, in a temporary instance with the default limits.
pub(super) fn describe(
    engine: &Engine,
    code: &ProcessorPre<HostState>,
) -> Result<Descriptor, Failure> {
    let undescribed = Descriptor {
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
    let console = Console::new("", "describe");
    let host = HostState::new("", memory, Arc::new(undescribed), console, "");
    let mut guest = Guest::instantiate(engine, code, host)?;
    guest.store.data_mut().set_time(0, DESCRIBE_TIME);
    let exports = guest.exports.formline_plugin_plugin();
    let described = exports.call_describe(&mut guest.store);
    described.map_err(|error| guest.failure(&error))
}

fn new_store(engine: &Engine, host: HostState) -> Store<HostState> {
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

fn failure(store: &Store<HostState>, error: &wasmtime::Error) -> Failure {
    let host = store.data();
    Failure::of(
        error,
        host.limits.was_exceeded(),
        &host.console.take_printed(),
    )
}
