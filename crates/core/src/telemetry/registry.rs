//! The metrics, health checks and status pages of the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{
    HistogramVec, IntCounterVec, IntGaugeVec, Registry, core::Collector,
    process_collector::ProcessCollector, proto::MetricFamily,
};
use serde_json::Value;

use super::{
    health::{CheckKind, Health, HealthCheck},
    metrics::{LATENCY_BUCKETS, MetricDescription, counters, describe, gauges, histograms},
};

/// The metrics, health checks and status pages of the process. Cheap to clone; all clones share
/// their state.
///
/// ```
/// use formline_core::{Telemetry, telemetry::counters};
///
/// let telemetry = Telemetry::new();
/// let rows = counters("demo_rows_total", "Rows that were written.", &["sheet"]);
/// telemetry.register(rows.clone());
/// rows.with_label_values(&["orders"]).inc();
///
/// let check = telemetry.startup_check("demo");
/// assert!(!telemetry.is_ready());
/// check.ready();
/// assert!(telemetry.is_ready());
/// ```
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: Registry,
    descriptions: Arc<Mutex<Vec<MetricDescription>>>,
    health: Health,
    pages: Pages,
    build_info: IntGaugeVec,
    dead_letters: IntCounterVec,
    end_to_end: HistogramVec,
}

/// Status pages by their name.
type Pages = Arc<Mutex<BTreeMap<&'static str, Value>>>;

// === impl Telemetry ===

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    /// Creates a registry with the metrics of the process and those that several stages share.
    pub fn new() -> Self {
        let telemetry = Self {
            registry: Registry::new(),
            descriptions: Arc::default(),
            health: Health::new(),
            pages: Arc::default(),
            build_info: gauges(
                "formline_build_info",
                "Always 1; the labels identify the build of this process.",
                &["version", "commit", "build_date"],
            ),
            dead_letters: counters(
                "formline_dead_letters_total",
                "Records that a step or sink has dead-lettered.",
                &["stage", "reason"],
            ),
            end_to_end: histograms(
                "formline_end_to_end_latency_seconds",
                "Time from the acceptance of a submission until a stage has processed it.",
                &["app", "stage"],
                LATENCY_BUCKETS,
            ),
        };
        telemetry.register(ProcessCollector::for_self());
        telemetry.register(telemetry.build_info.clone());
        telemetry.register(telemetry.health.metric().clone());
        telemetry.register(telemetry.dead_letters.clone());
        telemetry.register(telemetry.end_to_end.clone());
        telemetry
    }

    /// Sets `formline_build_info{version,commit,build_date}`.
    pub fn set_build_info(&self, version: &str, commit: &str, build_date: &str) {
        self.build_info.reset();
        let labels = [version, commit, build_date];
        self.build_info.with_label_values(&labels).set(1);
    }

    /// Returns `formline_dead_letters_total{stage,reason}`.
    pub fn dead_letters(&self) -> &IntCounterVec {
        &self.dead_letters
    }

    /// Returns `formline_end_to_end_latency_seconds{app,stage}`.
    pub fn end_to_end(&self) -> &HistogramVec {
        &self.end_to_end
    }

    /// Registers a metric. All metrics of a process are registered once, when it starts.
    ///
    /// # Panics
    ///
    /// Panics if a metric with the same name is registered.
    pub fn register(&self, metric: impl Collector + 'static) {
        let descriptions = describe(&metric);
        self.registry
            .register(Box::new(metric))
            .expect("each metric is registered once");
        self.descriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(descriptions);
    }

    /// Returns a description of every registered metric, sorted by name, including those that have
    /// no value yet.
    pub fn metrics(&self) -> Vec<MetricDescription> {
        let mut metrics = self
            .descriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        metrics.sort();
        metrics
    }

    /// Adds a component that must become ready once before the process is ready.
    ///
    /// A later failure appears in `/readyz` and in the metric but does not make the process
    /// unready: if a step fails, ingest continues to accept submissions, which wait in Kafka.
    pub fn startup_check(&self, name: impl Into<String>) -> HealthCheck {
        self.health.add(name.into(), CheckKind::Startup)
    }

    /// Adds a component that accepts requests. The process is not ready whenever it is not.
    pub fn readiness_check(&self, name: impl Into<String>) -> HealthCheck {
        self.health.add(name.into(), CheckKind::Readiness)
    }

    /// Publishes a JSON document at `/<name>` of the admin listener. It replaces the previous one.
    pub fn publish(&self, name: &'static str, page: Value) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.insert(name, page);
    }

    /// Returns whether every component has become ready, and those that accept requests still are.
    pub fn is_ready(&self) -> bool {
        self.health.is_ready()
    }

    /// Returns one line for each component: its name and `ready` or what it waits for.
    pub(super) fn health_report(&self) -> String {
        self.health.report()
    }

    pub(super) fn page(&self, name: &str) -> Option<String> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.get(name).map(Value::to_string)
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::MetricKind;

    #[test]
    fn the_process_is_ready_after_all_startup_checks_and_while_ingest_is() {
        let telemetry = Telemetry::new();
        let (ingest, rows) = (
            telemetry.readiness_check("ingest"),
            telemetry.startup_check("rows"),
        );
        ingest.ready();
        assert!(!telemetry.is_ready(), "rows has not started");
        rows.ready();
        assert!(telemetry.is_ready());
        rows.waiting("its plug-in fails");
        assert!(telemetry.is_ready(), "submissions wait in kafka");
        ingest.waiting("draining");
        assert!(!telemetry.is_ready());
        let report = telemetry.health_report();
        assert_eq!(report, "ingest: draining\nrows: its plug-in fails\n");
    }

    #[test]
    fn the_build_is_a_metric() {
        let telemetry = Telemetry::new();
        telemetry.set_build_info("0.1.0", "c0d81e8", "2026-11-28");
        let families = telemetry.gather();
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&families)
            .expect("the metrics are valid");
        let line = "formline_build_info{build_date=\"2026-11-28\",commit=\"c0d81e8\",\
                    version=\"0.1.0\"} 1\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn metrics_are_described_before_they_have_a_value() {
        let telemetry = Telemetry::new();
        let metrics = telemetry.metrics();
        let find = |name: &str| {
            let found = metrics.iter().find(|metric| metric.name == name);
            let found = found.expect("the metric is registered");
            (found.kind, found.labels.join(","))
        };
        for (name, kind, labels) in [
            (
                "formline_build_info",
                MetricKind::Gauge,
                "version,commit,build_date",
            ),
            ("formline_part_ready", MetricKind::Gauge, "part"),
            (
                "formline_dead_letters_total",
                MetricKind::Counter,
                "stage,reason",
            ),
            (
                "formline_end_to_end_latency_seconds",
                MetricKind::Histogram,
                "app,stage",
            ),
            ("process_cpu_seconds_total", MetricKind::Counter, ""),
        ] {
            assert_eq!(find(name), (kind, labels.to_owned()), "{name}");
        }
        assert!(metrics.is_sorted());
    }
}
