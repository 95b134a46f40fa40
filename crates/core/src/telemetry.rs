//! Logs, metrics and health: what an operator sees of the process.

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use serde_json::Value;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// The process's metrics and the state of its parts. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: Registry,
    parts: Parts,
    pages: Pages,
    ready: IntGaugeVec,
    dead_letters: IntCounterVec,
    end_to_end: HistogramVec,
}

/// One part of the process, such as ingest or a step, that is ready or says why not.
#[derive(Clone, Debug)]
pub struct Part {
    name: String,
    is_entrance: bool,
    parts: Parts,
    gauge: IntGauge,
}

type Parts = Arc<Mutex<BTreeMap<String, Health>>>;

/// What parts tell of themselves beside health and metrics, by the name of the page.
type Pages = Arc<Mutex<BTreeMap<&'static str, Value>>>;

/// State of a part.
#[derive(Clone, Debug, Default)]
struct Health {
    is_entrance: bool,
    was_ready: bool,
    /// What it waits for; none if it is ready.
    waiting: Option<String>,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged if `RUST_LOG` does not say: ours in full, libraries only when something is wrong.
/// yup-oauth2 prints tokens at debug, so it stays capped unless it is named.
const DEFAULT_FILTER: &str = "warn,formline=info,yup_oauth2=info,librdkafka=error,rdkafka=error";

/// Sends logs to standard error. Call it once, first of all.
pub fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| DEFAULT_FILTER.into());
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let to_person = std::io::stderr().is_terminal();
    let set = match format {
        LogFormat::Text => logs.with_target(false).with_ansi(to_person).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    if let Err(error) = set {
        tracing::warn!(%error, "logs were set up before");
    }
}

/// Upper bounds for latencies, in seconds: half a millisecond to one minute.
pub const LATENCY_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Counters by labels. The names are written in the program, so a wrong one is a mistake in the program.
pub fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("the name is a legal metric name")
}

/// Gauges by labels.
pub fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help), labels).expect("the name is a legal metric name")
}

/// Histograms by labels.
pub fn histograms(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    HistogramVec::new(options, labels).expect("the name is a legal metric name")
}

// === impl Telemetry ===

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    /// Metrics of the process itself are there from the start.
    pub fn new() -> Self {
        let telemetry = Self {
            registry: Registry::new(),
            parts: Arc::default(),
            pages: Arc::default(),
            ready: gauges(
                "formline_part_ready",
                "1 if the part does its work, 0 if /readyz says why not.",
                &["part"],
            ),
            dead_letters: counters(
                "formline_dead_letters_total",
                "Records that a step or sink gave up on.",
                &["stage", "reason"],
            ),
            end_to_end: histograms(
                "formline_end_to_end_latency_seconds",
                "Time from accepting a submission until a stage was done with it.",
                &["app", "stage"],
                LATENCY_BUCKETS,
            ),
        };
        telemetry.register(prometheus::process_collector::ProcessCollector::for_self());
        telemetry.register(telemetry.ready.clone());
        telemetry.register(telemetry.dead_letters.clone());
        telemetry.register(telemetry.end_to_end.clone());
        telemetry
    }

    /// `formline_dead_letters_total{stage,reason}`.
    pub fn dead_letters(&self) -> &IntCounterVec {
        &self.dead_letters
    }

    /// `formline_end_to_end_latency_seconds{app,stage}`.
    pub fn end_to_end(&self) -> &HistogramVec {
        &self.end_to_end
    }

    /// Adds a metric. All metrics of a process are made once, at its start, so a second one of the same name is a
    /// mistake in the program.
    pub fn register(&self, metric: impl prometheus::core::Collector + 'static) {
        self.registry
            .register(Box::new(metric))
            .expect("each metric is registered once");
    }

    /// Adds a part that the process waits for at its start. What befalls it later is shown and does not make the process
    /// unready: a step that fails must not keep submissions out, they wait for it in Kafka.
    pub fn part(&self, name: impl Into<String>) -> Part {
        self.add(name.into(), false)
    }

    /// Adds a part that takes requests: whenever it is not ready, neither is the process.
    pub fn entrance(&self, name: impl Into<String>) -> Part {
        self.add(name.into(), true)
    }

    fn add(&self, name: String, is_entrance: bool) -> Part {
        let part = Part {
            gauge: self.ready.with_label_values(&[&name]),
            name,
            is_entrance,
            parts: Arc::clone(&self.parts),
        };
        part.waiting("starting");
        part
    }

    /// Shows at `/<name>` of the admin listener, as JSON, what a part knows of itself now. It replaces what stood there.
    pub fn publish(&self, name: &'static str, page: Value) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.insert(name, page);
    }

    /// Whether every part has become ready, and those that take requests still are.
    pub fn is_ready(&self) -> bool {
        let is_fit =
            |state: &Health| state.waiting.is_none() || (state.was_ready && !state.is_entrance);
        self.health().values().all(is_fit)
    }

    /// Serves `/livez`, `/readyz`, `/metrics` and what was published until it is dropped: also a process that stops can be
    /// watched, and a client that says nothing does not hold it up.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        let routes = Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/{name}", get(page))
            .with_state(self);
        axum::serve(listener, routes).await
    }

    fn health(&self) -> BTreeMap<String, Health> {
        self.parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// 200 if the process is ready, else 503; either way a line a part.
async fn readyz(State(telemetry): State<Telemetry>) -> impl IntoResponse {
    let status = if telemetry.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let lines: String = telemetry
        .health()
        .into_iter()
        .map(|(name, state)| format!("{name}: {}\n", state.waiting.as_deref().unwrap_or("ready")))
        .collect();
    (status, lines)
}

/// 404 if nothing of this name was published.
async fn page(State(telemetry): State<Telemetry>, Path(name): Path<String>) -> impl IntoResponse {
    let pages = telemetry.pages.lock();
    let pages = pages.unwrap_or_else(PoisonError::into_inner);
    match pages.get(name.as_str()) {
        Some(page) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (json, page.to_string()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn metrics(State(telemetry): State<Telemetry>) -> impl IntoResponse {
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    match encoder.encode(&telemetry.registry.gather(), &mut text) {
        Ok(()) => (
            [(header::CONTENT_TYPE, encoder.format_type().to_owned())],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

// === impl Part ===

impl Part {
    /// The part does its work.
    pub fn ready(&self) {
        self.set(None);
    }

    /// The part does not work yet, or not any more, because of `reason`.
    pub fn waiting(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, waiting: Option<String>) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let state = parts.entry(self.name.clone()).or_default();
        self.gauge.set(i64::from(waiting.is_none()));
        state.is_entrance = self.is_entrance;
        state.was_ready |= waiting.is_none();
        state.waiting = waiting;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_ready_when_all_parts_have_been_and_the_entrance_is() {
        let telemetry = Telemetry::new();
        let (ingest, rows) = (telemetry.entrance("ingest"), telemetry.part("rows"));
        ingest.ready();
        assert!(!telemetry.is_ready(), "rows has not begun");
        rows.ready();
        assert!(telemetry.is_ready());
        rows.waiting("its plug-in fails");
        assert!(telemetry.is_ready(), "submissions wait in kafka");
        ingest.waiting("draining");
        assert!(!telemetry.is_ready());
    }
}
