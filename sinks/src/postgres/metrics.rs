//! What Prometheus is told of the postgres sinks alone.

use formline_core::{Telemetry, telemetry::counters};
use prometheus::IntCounterVec;

use super::{failure::Failure, row::Row};
use crate::metrics;

/// The metrics of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) common: metrics::Metrics,
    all: All,
}

/// The metrics of all postgres sinks, registered once.
#[derive(Clone, Debug)]
pub(crate) struct All {
    transactions: IntCounterVec,
}

// === impl All ===

impl All {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let transactions = counters(
            "formline_postgres_transactions_total",
            "Transactions with rows or offsets by what became of them.",
            &["sink", "outcome"],
        );
        telemetry.register(transactions.clone());
        Self { transactions }
    }

    pub(crate) fn of(&self, common: metrics::Metrics) -> Metrics {
        Metrics {
            common,
            all: self.clone(),
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// The database holds these rows, so many of them for the first time.
    pub(crate) fn stored(&self, rows: &[Row], new: u64) {
        let repeated = (rows.len() as u64).saturating_sub(new);
        self.common.records("written", new);
        self.common.records("repeated", repeated);
        self.common.written(rows.iter().map(|row| row.accepted));
        self.transaction("stored");
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        self.transaction(match failure {
            Failure::Row(_) => "bad-row",
            Failure::Fenced => "fenced",
            Failure::Refused { .. } => "refused",
            Failure::Passing(_) => "unknown",
        });
    }

    fn transaction(&self, outcome: &str) {
        let labels = [self.common.sink(), outcome];
        self.all.transactions.with_label_values(&labels).inc();
    }
}
