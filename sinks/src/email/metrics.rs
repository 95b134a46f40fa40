//! What Prometheus is told of email sinks beside what it is told of all.

use formline_core::{Telemetry, telemetry::counters};
use prometheus::IntCounterVec;

use crate::metrics;

/// The metrics of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) common: metrics::Metrics,
    messages: IntCounterVec,
}

/// The metrics of all email sinks, registered once.
#[derive(Clone, Debug)]
pub(crate) struct All {
    messages: IntCounterVec,
}

// === impl All ===

impl All {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let messages = counters(
            "formline_email_messages_total",
            "Attempts to send an e-mail, by what came of them.",
            &["sink", "outcome"],
        );
        telemetry.register(messages.clone());
        Self { messages }
    }

    pub(crate) fn of(&self, common: metrics::Metrics) -> Metrics {
        Metrics {
            common,
            messages: self.messages.clone(),
        }
    }
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn message(&self, outcome: &str) {
        let labels = [self.common.sink(), outcome];
        self.messages.with_label_values(&labels).inc();
    }
}
