//! One partition of a step that runs a plug-in natively.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::bench::{Bench, Limits};
use super::record::{Input, Outcome};
use crate::batch::process_batch;
use crate::guest::{configure, describe};
use crate::{InitError, Level, Plugin};

/// One partition of a step that runs the plug-in `P`, with its state in memory. See the
/// [module](super) for an example.
pub struct Partition<P> {
    plugin: P,
    config: String,
    bench: Bench,
}

// === impl Partition ===

impl<P: Plugin> Partition<P> {
    /// Starts the plug-in for partition 0, with `config` as JSON.
    ///
    /// # Errors
    /// Those of [`Plugin::new`], and `bad-config` for a `config` of another format.
    pub fn start(config: &str) -> Result<Self, InitError> {
        let input = P::INPUTS
            .first()
            .expect("`register!` checks that there is one");
        Ok(Self {
            plugin: configure(config)?,
            config: config.to_owned(),
            bench: Bench::new(input, P::OUTPUTS, P::STORES, P::COUNTERS),
        })
    }

    /// Changes to another partition, or to another input of the plug-in.
    pub fn assign(&mut self, port: &'static str, partition: i32) {
        self.bench.assign(port, partition);
    }

    /// Sets lower limits, to test what happens when they are exceeded.
    pub fn limit(&mut self, limits: Limits) {
        self.bench.limit(limits);
    }

    /// Sets the wall clock that the plug-in sees, in milliseconds since 1970. By default it shows
    /// the newest timestamp of all events.
    pub fn set_batch_time_ms(&mut self, batch_time_ms: i64) {
        self.bench.set_batch_time_ms(batch_time_ms);
    }

    /// Processes one event.
    ///
    /// # Errors
    /// What the plug-in returned.
    pub fn process(&mut self, input: Input) -> Outcome {
        let mut outcomes = self.process_batch([input]);
        outcomes.pop().expect("one event has one outcome")
    }

    /// Processes a batch. Returns fewer outcomes than inputs if an event is to be retried later.
    pub fn process_batch(&mut self, inputs: impl IntoIterator<Item = Input>) -> Vec<Outcome> {
        self.bench.begin(inputs);
        process_batch(&mut self.plugin, &self.bench);
        self.bench.end()
    }

    /// Creates a new instance, as after a crash: guest memory is lost, stores are kept.
    pub fn restart(&mut self) {
        self.plugin = configure(&self.config).expect("the configuration was accepted before");
    }

    /// The entries of a store.
    pub fn store(&self, name: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.bench.store(name)
    }

    /// The value of a counter.
    pub fn counter(&self, name: &str) -> u64 {
        self.bench.counter(name)
    }

    /// All log lines.
    pub fn log(&self) -> Vec<(Level, String)> {
        self.bench.log_lines()
    }

    /// The JSON Schema against which `formline check` validates a step's `config`.
    pub fn config_schema() -> Value {
        let schema = describe::<P>().config_schema;
        serde_json::from_str(&schema).expect("the schema was written as JSON")
    }
}

impl<P> fmt::Debug for Partition<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition")
            .field("bench", &self.bench)
            .finish_non_exhaustive()
    }
}
