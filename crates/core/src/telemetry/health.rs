//! The health of the components of the process, from which its readiness follows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{IntGauge, IntGaugeVec};

use super::metrics::gauges;

/// Reports whether a component of the process, such as ingest or a step, is ready.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    name: String,
    kind: CheckKind,
    states: States,
    gauge: IntGauge,
}

/// When a component affects the readiness of the process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CheckKind {
    /// Until it is ready for the first time.
    Startup,
    /// Whenever it is not ready.
    Readiness,
}

/// The state of all components.
#[derive(Clone, Debug)]
pub(super) struct Health {
    states: States,
    ready: IntGaugeVec,
}

/// States by the name of the component.
type States = Arc<Mutex<BTreeMap<String, State>>>;

/// State of a component.
#[derive(Clone, Debug)]
struct State {
    kind: CheckKind,
    was_ready: bool,
    /// What the component waits for; `None` if it is ready.
    waiting: Option<String>,
}

// === impl HealthCheck ===

impl HealthCheck {
    /// Reports that the component is ready.
    pub fn ready(&self) {
        self.set(None);
    }

    /// Reports that the component is not ready, because of `reason`.
    pub fn waiting(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, waiting: Option<String>) {
        let is_ready = waiting.is_none();
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        self.gauge.set(i64::from(is_ready));
        let was_ready = is_ready || states.get(&self.name).is_some_and(|last| last.was_ready);
        let state = State {
            kind: self.kind,
            was_ready,
            waiting,
        };
        states.insert(self.name.clone(), state);
    }
}

// === impl Health ===

impl Health {
    pub(super) fn new() -> Self {
        Self {
            states: Arc::default(),
            ready: gauges(
                "formline_part_ready",
                "1 if the component is ready, 0 if not; /readyz returns the reason.",
                &["part"],
            ),
        }
    }

    /// Returns the metric `formline_part_ready`.
    pub(super) fn metric(&self) -> &IntGaugeVec {
        &self.ready
    }

    /// Adds a component, which is not ready yet.
    pub(super) fn add(&self, name: String, kind: CheckKind) -> HealthCheck {
        let check = HealthCheck {
            gauge: self.ready.with_label_values(&[&name]),
            name,
            kind,
            states: Arc::clone(&self.states),
        };
        check.waiting("starting");
        check
    }

    /// Returns whether the process is ready.
    pub(super) fn is_ready(&self) -> bool {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.values().all(|state| {
            let has_started = state.was_ready && state.kind == CheckKind::Startup;
            state.waiting.is_none() || has_started
        })
    }

    /// Returns one line for each component: its name and `ready` or what it waits for.
    pub(super) fn report(&self) -> String {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |(name, state): (&String, &State)| {
            format!("{name}: {}\n", state.waiting.as_deref().unwrap_or("ready"))
        };
        states.iter().map(line).collect()
    }
}
