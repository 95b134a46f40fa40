//! What ingest counts. All labels are known when the process starts, so none costs a look-up by text per request.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{Method, StatusCode};
use formline_core::{Producer, Telemetry};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, PullingGauge,
};

/// What became of a submission.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// In Kafka.
    Accepted,
    /// Accepted before; the answer was repeated.
    Replayed,
    /// A robot's, answered and thrown away.
    Honeypot,
    /// The client's mistake.
    Refused,
    /// Over a rate limit.
    Limited,
    /// Not stored; a repetition may be.
    Failed,
}

/// The submissions of one form.
#[derive(Debug)]
pub(crate) struct Outcomes([IntCounter; 6]);

/// All metrics of the service.
#[derive(Debug)]
pub(crate) struct Metrics {
    submissions: IntCounterVec,
    by_path: HashMap<String, Arc<Durations>>,
    elsewhere: Arc<Durations>,
    durations: HistogramVec,
}

/// The durations of requests to one form, by method and status.
#[derive(Debug)]
pub(crate) struct Durations {
    form: String,
    vec: HistogramVec,
    known: [[OnceLock<Histogram>; STATUSES.len()]; METHODS.len()],
}

const METHODS: [Method; 3] = [Method::POST, Method::GET, Method::OPTIONS];
const STATUSES: [u16; 9] = [202, 200, 303, 422, 400, 413, 429, 503, 204];

/// From a cached page to a delivery that takes its whole time limit.
const BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

// === impl Metrics ===

impl Metrics {
    /// Registers all metrics.
    pub(crate) fn new(telemetry: &Telemetry, producer: &Arc<Producer>) -> Self {
        let submissions = Opts::new(
            "formline_submissions_total",
            "Submissions by what became of them",
        );
        let submissions = IntCounterVec::new(submissions, &["form", "outcome"]).expect(CONSTANT);
        let durations = HistogramOpts::new(
            "formline_http_request_duration_seconds",
            "From the request's headers to the answer",
        );
        let durations = HistogramVec::new(
            durations.buckets(BUCKETS.into()),
            &["form", "method", "status"],
        );
        let durations = durations.expect(CONSTANT);
        let queue = Arc::clone(producer);
        let queued = PullingGauge::new(
            "formline_producer_queue_messages",
            "Records that wait for Kafka's acknowledgement",
            Box::new(move || queue.in_flight() as f64),
        );
        telemetry.register(submissions.clone());
        telemetry.register(durations.clone());
        telemetry.register(queued.expect(CONSTANT));
        let elsewhere = Arc::new(Durations::new("none", &durations));
        Self {
            submissions,
            by_path: HashMap::new(),
            elsewhere,
            durations,
        }
    }

    /// Shows how many requests are in work.
    pub(crate) fn show_in_flight(telemetry: &Telemetry, count: Arc<AtomicUsize>) {
        let gauge = PullingGauge::new(
            "formline_http_in_flight",
            "Requests in work",
            Box::new(move || count.load(Ordering::Relaxed) as f64),
        );
        telemetry.register(gauge.expect(CONSTANT));
    }

    /// Adds a form with all its addresses.
    pub(crate) fn add_form(
        &mut self,
        form: &str,
        paths: impl IntoIterator<Item = String>,
    ) -> Outcomes {
        let durations = Arc::new(Durations::new(form, &self.durations));
        self.by_path
            .extend(paths.into_iter().map(|path| (path, Arc::clone(&durations))));
        Outcomes(
            Outcome::ALL
                .map(|outcome| self.submissions.with_label_values(&[form, outcome.label()])),
        )
    }

    /// Where the durations of requests to a path are counted. Addresses of no form are one: a label of the client's
    /// choosing would fill the memory.
    pub(crate) fn durations(&self, path: &str) -> &Durations {
        self.by_path.get(path).unwrap_or(&self.elsewhere)
    }
}

/// Why metrics can be made without a way out.
const CONSTANT: &str = "names and labels are constants that prometheus takes";

// === impl Durations ===

impl Durations {
    fn new(form: &str, vec: &HistogramVec) -> Self {
        Self {
            form: form.to_owned(),
            vec: vec.clone(),
            known: Default::default(),
        }
    }

    /// Counts a request.
    pub(crate) fn observe(&self, method: &Method, status: StatusCode, duration: Duration) {
        let place = METHODS.iter().position(|known| known == method);
        let known = STATUSES.iter().position(|known| *known == status.as_u16());
        let seconds = duration.as_secs_f64();
        match (place, known) {
            (Some(method_at), Some(status_at)) => {
                let make = || self.histogram(method.as_str(), status);
                self.known[method_at][status_at]
                    .get_or_init(make)
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

// === impl Outcome ===

impl Outcome {
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

// === impl Outcomes ===

impl Outcomes {
    /// Counts one submission.
    pub(crate) fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].inc();
    }
}
