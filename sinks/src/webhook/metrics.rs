//! What Prometheus is told of webhook sinks beside what it is told of all.

use formline_core::{Telemetry, telemetry::counters};
use prometheus::IntCounterVec;

use crate::metrics;

/// The metrics of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) common: metrics::Metrics,
    calls: IntCounterVec,
}

/// The metrics of all webhook sinks, registered once.
#[derive(Clone, Debug)]
pub(crate) struct All {
    calls: IntCounterVec,
}

// === impl All ===

impl All {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let calls = counters(
            "formline_webhook_calls_total",
            "Calls of a webhook, by what came of them.",
            &["sink", "outcome"],
        );
        telemetry.register(calls.clone());
        Self { calls }
    }

    pub(crate) fn of(&self, common: metrics::Metrics) -> Metrics {
        Metrics {
            common,
            calls: self.calls.clone(),
        }
    }
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn call(&self, outcome: &str) {
        let labels = [self.common.sink(), outcome];
        self.calls.with_label_values(&labels).inc();
    }
}
