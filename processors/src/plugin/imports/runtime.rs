//! The interface `runtime`: log, clock, derived ids and counters.

use formline_core::{EventId, event};

use crate::plugin::{
    bindings::formline::plugin::runtime::{Host, Level},
    failure::Misuse,
    host_state::{HostState, NO_EVENT},
};

/// The port name in ids that a plug-in derives itself. No port has an empty name, so these ids
/// differ from the ids of all records.
const DERIVED_IDS: &str = "";

// === impl HostState ===

impl Host for HostState {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.console.line(level, &message);
        Ok(())
    }

    fn batch_time_ms(&mut self) -> wasmtime::Result<i64> {
        Ok(self.now_ms)
    }

    fn derive_id(&mut self) -> wasmtime::Result<String> {
        let n = self.batch()?.next_id().ok_or(NO_EVENT)?;
        let event = self.batch()?.event().ok_or(NO_EVENT)?;
        let identity = event::identity(&event.record);
        Ok(EventId::derived(&identity, &self.step, DERIVED_IDS, n).to_string())
    }

    fn counter_add(&mut self, name: String, delta: u64) -> wasmtime::Result<()> {
        let mut counters = self.declared.counters.iter();
        let counter = counters.position(|declared| *declared == name);
        let counter = counter.ok_or(Misuse("`describe` does not declare this counter"))?;
        self.batch()?.count(counter, delta);
        Ok(())
    }
}
