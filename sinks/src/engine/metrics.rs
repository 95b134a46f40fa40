//! The Prometheus metrics of every sink, whatever its kind.

use formline_core::{
    Telemetry,
    app::Sink,
    telemetry::{counters, gauges, histograms},
};
use jiff::Timestamp;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

/// The metrics of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SinkMetrics {
    app: String,
    name: String,
    /// `app.sink`, because names of sinks are unique only within their app.
    sink: String,
    families: MetricFamilies,
}

/// The metrics of all sinks, registered once per process.
#[derive(Clone, Debug)]
pub(crate) struct MetricFamilies {
    records: IntCounterVec,
    batch_size: HistogramVec,
    buffered: IntGaugeVec,
    dead_letters: IntCounterVec,
    end_to_end: HistogramVec,
}

/// Counts what the sinks of one kind do, by sink and outcome. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct OutcomeCounter(IntCounterVec);

const SIZES: &[f64] = &[
    1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0,
];

// === impl MetricFamilies ===

impl MetricFamilies {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let families = Self {
            records: counters(
                "formline_sink_records_total",
                "Records that a sink has finished, by outcome.",
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
                "Records that are read and not delivered yet.",
                &["sink"],
            ),
            dead_letters: telemetry.dead_letters().clone(),
            end_to_end: telemetry.end_to_end().clone(),
        };
        telemetry.register(families.records.clone());
        telemetry.register(families.batch_size.clone());
        telemetry.register(families.buffered.clone());
        families
    }

    pub(crate) fn of(&self, sink: &Sink) -> SinkMetrics {
        SinkMetrics {
            app: sink.app.clone(),
            name: sink.name.clone(),
            sink: format!("{}.{}", sink.app, sink.name),
            families: self.clone(),
        }
    }
}

// === impl OutcomeCounter ===

impl OutcomeCounter {
    /// Registers the counter. Call it once for all sinks of a kind.
    pub(crate) fn register(telemetry: &Telemetry, name: &str, help: &str) -> Self {
        let counter = counters(name, help, &["sink", "outcome"]);
        telemetry.register(counter.clone());
        Self(counter)
    }

    pub(crate) fn count(&self, sink: &str, outcome: &str) {
        self.0.with_label_values(&[sink, outcome]).inc();
    }
}

// === impl SinkMetrics ===

impl SinkMetrics {
    /// The value of the label `sink`.
    pub(crate) fn sink(&self) -> &str {
        &self.sink
    }

    pub(crate) fn records(&self, outcome: &str, count: u64) {
        self.families
            .records
            .with_label_values(&[self.sink.as_str(), outcome])
            .inc_by(count);
    }

    /// Records a write, by the times when the submissions in it were accepted, in microseconds
    /// since 1970.
    pub(crate) fn written(&self, accepted: impl ExactSizeIterator<Item = i64>) {
        if accepted.len() == 0 {
            return;
        }
        let batch_size = self.families.batch_size.with_label_values(&[&self.sink]);
        batch_size.observe(accepted.len() as f64);
        let stage = [self.app.as_str(), self.name.as_str()];
        let latency = self.families.end_to_end.with_label_values(&stage);
        let now = Timestamp::now().as_microsecond();
        for time in accepted {
            latency.observe(now.saturating_sub(time).max(0) as f64 / 1e6);
        }
    }

    pub(crate) fn dead_letter(&self, reason: &str) {
        self.records("dead-letter", 1);
        self.families
            .dead_letters
            .with_label_values(&[self.name.as_str(), reason])
            .inc();
    }

    pub(crate) fn buffered(&self, records: usize) {
        let records = i64::try_from(records).unwrap_or(i64::MAX);
        let buffered = self.families.buffered.with_label_values(&[&self.sink]);
        buffered.set(records);
    }
}
