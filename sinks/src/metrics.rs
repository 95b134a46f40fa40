//! What Prometheus is told of every sink, whatever its kind.

use formline_core::{
    Telemetry,
    app::Sink,
    telemetry::{counters, gauges, histograms},
};
use jiff::Timestamp;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

/// The metrics of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    app: String,
    name: String,
    /// `app.sink`: names of sinks are unique only within their app.
    sink: String,
    all: All,
}

/// The metrics of all sinks, registered once.
#[derive(Clone, Debug)]
pub(crate) struct All {
    records: IntCounterVec,
    batch_size: HistogramVec,
    buffered: IntGaugeVec,
    dead_letters: IntCounterVec,
    end_to_end: HistogramVec,
}

/// Counts what came of what the sinks of one kind do, by sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Outcomes(IntCounterVec);

const SIZES: &[f64] = &[
    1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0,
];

// === impl All ===

impl All {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let all = Self {
            records: counters(
                "formline_sink_records_total",
                "Records that a sink is done with.",
                &["sink", "outcome"],
            ),
            batch_size: histograms(
                "formline_sink_batch_size",
                "Records of one write.",
                &["sink"],
                SIZES,
            ),
            buffered: gauges(
                "formline_sink_buffered_records",
                "Records that wait for their write.",
                &["sink"],
            ),
            dead_letters: telemetry.dead_letters().clone(),
            end_to_end: telemetry.end_to_end().clone(),
        };
        telemetry.register(all.records.clone());
        telemetry.register(all.batch_size.clone());
        telemetry.register(all.buffered.clone());
        all
    }

    pub(crate) fn of(&self, sink: &Sink) -> Metrics {
        Metrics {
            app: sink.app.clone(),
            name: sink.name.clone(),
            sink: format!("{}.{}", sink.app, sink.name),
            all: self.clone(),
        }
    }
}

// === impl Outcomes ===

impl Outcomes {
    /// Registers the counter, once for all sinks of the kind.
    pub(crate) fn register(telemetry: &Telemetry, name: &str, help: &str) -> Self {
        let outcomes = counters(name, help, &["sink", "outcome"]);
        telemetry.register(outcomes.clone());
        Self(outcomes)
    }

    pub(crate) fn count(&self, sink: &str, outcome: &str) {
        self.0.with_label_values(&[sink, outcome]).inc();
    }
}

// === impl Metrics ===

impl Metrics {
    /// The value of the label `sink`.
    pub(crate) fn sink(&self) -> &str {
        &self.sink
    }

    pub(crate) fn records(&self, outcome: &str, count: u64) {
        self.all
            .records
            .with_label_values(&[self.sink.as_str(), outcome])
            .inc_by(count);
    }

    /// A write is done, with records of submissions that were accepted at these times, in microseconds since 1970.
    pub(crate) fn written(&self, accepted: impl ExactSizeIterator<Item = i64>) {
        if accepted.len() == 0 {
            return;
        }
        let batch_size = self.all.batch_size.with_label_values(&[&self.sink]);
        batch_size.observe(accepted.len() as f64);
        let stage = [self.app.as_str(), self.name.as_str()];
        let latency = self.all.end_to_end.with_label_values(&stage);
        let now = Timestamp::now().as_microsecond();
        for time in accepted {
            latency.observe(now.saturating_sub(time).max(0) as f64 / 1e6);
        }
    }

    pub(crate) fn dead_letter(&self, reason: &str) {
        self.records("dead-letter", 1);
        self.all
            .dead_letters
            .with_label_values(&[self.name.as_str(), reason])
            .inc();
    }

    pub(crate) fn buffered(&self, records: usize) {
        let records = i64::try_from(records).unwrap_or(i64::MAX);
        let buffered = self.all.buffered.with_label_values(&[&self.sink]);
        buffered.set(records);
    }
}
