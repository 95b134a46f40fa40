//! Constructors of labelled metrics, and the description of a metric for reference documentation.

use std::fmt;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, core::Collector,
    proto::MetricType,
};

/// A registered metric. See [`Telemetry::metrics`](super::Telemetry::metrics).
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct MetricDescription {
    /// Name of the metric.
    pub name: String,
    /// Type of the metric.
    pub kind: MetricKind,
    /// Help text.
    pub help: String,
    /// Names of its labels.
    pub labels: Vec<String>,
}

/// The type of a metric. `Display` writes the word of the exposition format, such as `counter`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum MetricKind {
    /// A number that only increases.
    Counter,
    /// A number that increases and decreases.
    Gauge,
    /// A distribution of numbers in buckets.
    Histogram,
    /// A distribution of numbers in quantiles.
    Summary,
    /// Unknown.
    Untyped,
}

/// Upper bounds of the buckets for latencies, in seconds: 0.5 ms to 60 s.
pub const LATENCY_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Creates a counter for each combination of labels.
///
/// # Panics
///
/// Panics if the name or a label is invalid.
pub fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("the name is a valid metric name")
}

/// Creates a gauge for each combination of labels.
///
/// # Panics
///
/// Panics if the name or a label is invalid.
pub fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help), labels).expect("the name is a valid metric name")
}

/// Creates a histogram for each combination of labels.
///
/// # Panics
///
/// Panics if the name or a label is invalid.
pub fn histograms(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    HistogramVec::new(options, labels).expect("the name is a valid metric name")
}

/// Describes the metrics of a collector, also those that have no value yet.
pub(super) fn describe(collector: &dyn Collector) -> Vec<MetricDescription> {
    let families = collector.collect();
    let describe = |desc: &prometheus::core::Desc| {
        let family = families.iter().find(|family| family.name() == desc.fq_name);
        let constant = desc.const_label_pairs.iter();
        let constant = constant.map(|label| label.name().to_owned());
        MetricDescription {
            name: desc.fq_name.clone(),
            kind: family.map_or(MetricKind::Untyped, |family| family.get_field_type().into()),
            help: desc.help.clone(),
            labels: constant.chain(desc.variable_labels.clone()).collect(),
        }
    };
    collector.desc().into_iter().map(describe).collect()
}

// === impl MetricKind ===

impl From<MetricType> for MetricKind {
    fn from(kind: MetricType) -> Self {
        match kind {
            MetricType::COUNTER => Self::Counter,
            MetricType::GAUGE => Self::Gauge,
            MetricType::HISTOGRAM => Self::Histogram,
            MetricType::SUMMARY => Self::Summary,
            MetricType::UNTYPED => Self::Untyped,
        }
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        })
    }
}
