//! The metrics of the steps of this process.

use formline_core::{
    Telemetry,
    app::Step,
    event,
    telemetry::{self, counters, gauges},
};
use jiff::Timestamp;
use prometheus::{Histogram, HistogramVec, IntCounterVec, IntGaugeVec};

use crate::{batch::Event, plugin::Plugin};

/// All metrics of the host. Cheap to clone; all clones share their state.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    events: IntCounterVec,
    batch: HistogramVec,
    commit: HistogramVec,
    call: HistogramVec,
    latency: HistogramVec,
    traps: IntCounterVec,
    pauses: IntCounterVec,
    dead_letters: IntCounterVec,
    counters: IntCounterVec,
    swaps: IntCounterVec,
    restored: IntCounterVec,
    info: IntGaugeVec,
    pub(crate) lag: IntGaugeVec,
}

/// The metrics of one step.
#[derive(Clone, Debug)]
pub(crate) struct StepMetrics {
    all: Metrics,
    app: String,
    step: String,
    /// From the plug-in's call to the commit of the results.
    pub(crate) batch: Histogram,
    pub(crate) commit: Histogram,
    pub(crate) call: Histogram,
    latency: Histogram,
}

/// Registers the metrics of all steps without running one, for a list of what there is.
pub fn register_metrics(telemetry: &Telemetry) {
    Metrics::register(telemetry);
}

// === impl Metrics ===

impl Metrics {
    /// Creates and registers the metrics of the process. To be called once.
    pub(crate) fn register(process: &Telemetry) -> Self {
        let own = Self::new(process);
        for counters in [
            &own.events,
            &own.traps,
            &own.pauses,
            &own.counters,
            &own.swaps,
            &own.restored,
        ] {
            process.register(counters.clone());
        }
        for histograms in [&own.batch, &own.commit, &own.call] {
            process.register(histograms.clone());
        }
        for gauges in [&own.info, &own.lag] {
            process.register(gauges.clone());
        }
        own
    }

    fn new(process: &Telemetry) -> Self {
        Self {
            events: counters(
                "formline_step_events_total",
                "Events that a step has completed; `retry-later` are events that were deferred.",
                &["app", "step", "outcome"],
            ),
            batch: durations(
                "formline_step_batch_duration_seconds",
                "Time from the plug-in's call to the commit of the results.",
            ),
            commit: durations(
                "formline_step_commit_duration_seconds",
                "Time of a transaction, from its start to its commit.",
            ),
            call: durations(
                "formline_plugin_call_duration_seconds",
                "Time that a plug-in spends on a batch.",
            ),
            latency: process.end_to_end().clone(),
            traps: counters(
                "formline_plugin_traps_total",
                "Failed calls of a plug-in.",
                &["app", "step", "reason"],
            ),
            pauses: counters(
                "formline_step_pauses_total",
                "Times that a step was paused because its plug-in fails too often.",
                &["app", "step"],
            ),
            dead_letters: process.dead_letters().clone(),
            counters: counters(
                "formline_plugin_counter_total",
                "Counters that plug-ins declare.",
                &["app", "step", "counter"],
            ),
            swaps: counters(
                "formline_plugin_swaps_total",
                "Changes of plug-in files, by their outcome.",
                &["outcome"],
            ),
            restored: counters(
                "formline_step_restored_records_total",
                "Changelog records read because the state files do not contain them.",
                &["app", "step"],
            ),
            info: gauges(
                "formline_plugin_info",
                "The plug-in that a step runs.",
                &["app", "step", "plugin", "version", "digest"],
            ),
            lag: gauges(
                "formline_step_lag_records",
                "Offsets between the end of a partition and the committed offset of the step.",
                &["app", "step", "topic", "partition"],
            ),
        }
    }

    /// The metrics of one step.
    pub(crate) fn of(&self, step: &Step) -> StepMetrics {
        let labels = [step.app.as_str(), step.name.as_str()];
        StepMetrics {
            all: self.clone(),
            app: step.app.clone(),
            step: step.name.clone(),
            batch: self.batch.with_label_values(&labels),
            commit: self.commit.with_label_values(&labels),
            call: self.call.with_label_values(&labels),
            latency: self.latency.with_label_values(&labels),
        }
    }

    /// Counts a change of a plug-in file by the label of its outcome.
    pub(crate) fn swap(&self, outcome: &str) {
        self.swaps.with_label_values(&[outcome]).inc();
    }
}

fn durations(name: &str, help: &str) -> HistogramVec {
    telemetry::histograms(name, help, &["app", "step"], telemetry::LATENCY_BUCKETS)
}

// === impl StepMetrics ===

impl StepMetrics {
    pub(crate) fn events(&self, outcome: &str, count: usize) {
        let counter = self
            .all
            .events
            .with_label_values(&[&self.app, &self.step, outcome]);
        counter.inc_by(count as u64);
    }

    pub(crate) fn trap(&self, reason: &str) {
        self.all
            .traps
            .with_label_values(&[&self.app, &self.step, reason])
            .inc();
    }

    pub(crate) fn pause(&self) {
        self.all
            .pauses
            .with_label_values(&[&self.app, &self.step])
            .inc();
    }

    pub(crate) fn restored(&self, records: u64) {
        self.all
            .restored
            .with_label_values(&[&self.app, &self.step])
            .inc_by(records);
    }

    pub(crate) fn dead_letter(&self, reason: &str) {
        self.all
            .dead_letters
            .with_label_values(&[&self.step, reason])
            .inc();
    }

    pub(crate) fn count(&self, counter: &str, delta: u64) {
        self.all
            .counters
            .with_label_values(&[&self.app, &self.step, counter])
            .inc_by(delta);
    }

    /// Records that the step has committed this event at `now`.
    pub(crate) fn passed(&self, event: &Event, now: Timestamp) {
        let accepted = event::time(&event.record);
        self.latency
            .observe(now.duration_since(accepted).as_secs_f64().max(0.0));
    }

    /// Records that the step now runs `new`.
    pub(crate) fn runs(&self, old: Option<&Plugin>, new: &Plugin) {
        if let Some(old) = old {
            // This fails only if the label was never set.
            let _ = self.all.info.remove_label_values(&self.plugin_labels(old));
        }
        self.all
            .info
            .with_label_values(&self.plugin_labels(new))
            .set(1);
    }

    fn plugin_labels<'a>(&'a self, plugin: &'a Plugin) -> [&'a str; 5] {
        let declared = &plugin.declared;
        [
            &self.app,
            &self.step,
            &declared.name,
            &declared.version,
            &plugin.digest,
        ]
    }
}
