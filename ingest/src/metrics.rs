//! The metrics of ingest. The counters of all labels are created when the process starts, so that
//! requests need no lookup by label value.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{Method, StatusCode};
use formline_core::Telemetry;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, PullingGauge,
};

/// The outcome of a submission.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SubmissionOutcome {
    /// Stored in Kafka.
    Accepted,
    /// Accepted by an earlier request with the same key.
    Replayed,
    /// Sent by a robot and discarded.
    Honeypot,
    /// Rejected because of a client error.
    Refused,
    /// Rejected by a rate limit.
    Limited,
    /// Not acknowledged by Kafka; a retry may succeed.
    Failed,
}

/// The counters of one form, by outcome.
#[derive(Debug)]
pub(crate) struct SubmissionCounters([IntCounter; 6]);

/// All metrics of the service.
#[derive(Debug)]
pub(crate) struct Metrics {
    submissions: IntCounterVec,
    by_path: HashMap<String, Arc<RequestDurations>>,
    /// Requests whose path belongs to no form.
    other: Arc<RequestDurations>,
    durations: HistogramVec,
}

/// The durations of requests to one form, by method and status.
#[derive(Debug)]
pub(crate) struct RequestDurations {
    form: String,
    vec: HistogramVec,
    cached: [[OnceLock<Histogram>; STATUSES.len()]; METHODS.len()],
}

/// The methods whose histograms are cached.
const METHODS: [Method; 3] = [Method::POST, Method::GET, Method::OPTIONS];

/// The statuses whose histograms are cached, the most frequent ones first.
const STATUSES: [u16; 9] = [202, 200, 303, 422, 400, 413, 429, 503, 204];

/// Upper bounds in seconds, from a cached document to a delivery that takes all its time.
const BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Registers all metrics of ingest without serving, for a list of what there is.
pub fn register_metrics(telemetry: &Telemetry) {
    Metrics::new(telemetry, || 0);
    Metrics::register_in_flight(telemetry, Arc::default());
}

// === impl Metrics ===

impl Metrics {
    /// Registers the metrics. `queued` counts the records that wait for the acknowledgement.
    pub(crate) fn new(
        telemetry: &Telemetry,
        queued: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Self {
        let submissions = Opts::new(
            "formline_submissions_total",
            "Submissions by form and outcome",
        );
        let submissions = IntCounterVec::new(submissions, &["form", "outcome"]).expect(CONSTANT);
        let durations = HistogramOpts::new(
            "formline_http_request_duration_seconds",
            "Time from the headers of a request to its response",
        );
        let durations = HistogramVec::new(
            durations.buckets(BUCKETS.into()),
            &["form", "method", "status"],
        );
        let durations = durations.expect(CONSTANT);
        let queued = PullingGauge::new(
            "formline_producer_queue_messages",
            "Records that wait for the acknowledgement of Kafka",
            Box::new(move || queued() as f64),
        );
        telemetry.register(submissions.clone());
        telemetry.register(durations.clone());
        telemetry.register(queued.expect(CONSTANT));
        let other = Arc::new(RequestDurations::new("none", &durations));
        Self {
            submissions,
            by_path: HashMap::new(),
            other,
            durations,
        }
    }

    /// Registers the number of requests in flight.
    pub(crate) fn register_in_flight(telemetry: &Telemetry, count: Arc<AtomicUsize>) {
        let gauge = PullingGauge::new(
            "formline_http_in_flight",
            "Requests in flight",
            Box::new(move || count.load(Ordering::Relaxed) as f64),
        );
        telemetry.register(gauge.expect(CONSTANT));
    }

    /// Adds a form with all its paths.
    pub(crate) fn add_form(
        &mut self,
        form: &str,
        paths: impl IntoIterator<Item = String>,
    ) -> SubmissionCounters {
        let durations = Arc::new(RequestDurations::new(form, &self.durations));
        self.by_path
            .extend(paths.into_iter().map(|path| (path, Arc::clone(&durations))));
        SubmissionCounters(
            SubmissionOutcome::ALL
                .map(|outcome| self.submissions.with_label_values(&[form, outcome.label()])),
        )
    }

    /// The durations of requests to a path. All paths that belong to no form share one label,
    /// because labels that clients choose would grow without bound.
    pub(crate) fn durations(&self, path: &str) -> &RequestDurations {
        self.by_path.get(path).unwrap_or(&self.other)
    }
}

/// Why creating a metric cannot fail.
const CONSTANT: &str = "names and labels are valid constants";

// === impl RequestDurations ===

impl RequestDurations {
    fn new(form: &str, vec: &HistogramVec) -> Self {
        Self {
            form: form.to_owned(),
            vec: vec.clone(),
            cached: Default::default(),
        }
    }

    /// Records the duration of a request.
    pub(crate) fn observe(&self, method: &Method, status: StatusCode, duration: Duration) {
        let method_index = METHODS.iter().position(|known| known == method);
        let status_index = STATUSES.iter().position(|known| *known == status.as_u16());
        let seconds = duration.as_secs_f64();
        match (method_index, status_index) {
            (Some(method_index), Some(status_index)) => {
                let create = || self.histogram(method.as_str(), status);
                self.cached[method_index][status_index]
                    .get_or_init(create)
                    .observe(seconds);
            }
            (Some(_), None) => self.histogram(method.as_str(), status).observe(seconds),
            (None, _) => self.histogram("other", status).observe(seconds),
        }
    }

    fn histogram(&self, method: &str, status: StatusCode) -> Histogram {
        self.vec
            .with_label_values(&[self.form.as_str(), method, status.as_str()])
    }
}

// === impl SubmissionOutcome ===

impl SubmissionOutcome {
    const ALL: [Self; 6] = [
        Self::Accepted,
        Self::Replayed,
        Self::Honeypot,
        Self::Refused,
        Self::Limited,
        Self::Failed,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Replayed => "replayed",
            Self::Honeypot => "honeypot",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Failed => "failed",
        }
    }
}

// === impl SubmissionCounters ===

impl SubmissionCounters {
    /// Counts one submission.
    pub(crate) fn count(&self, outcome: SubmissionOutcome) {
        self.0[outcome as usize].inc();
    }
}
