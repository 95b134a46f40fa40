//! The Prometheus metrics of postgres sinks.

use super::{failure::PostgresFailure, row::ResponseRow};
use crate::engine::metrics::{OutcomeCounter, SinkMetrics};

/// The metrics of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PostgresMetrics {
    pub(crate) common: SinkMetrics,
    pub(crate) transactions: OutcomeCounter,
}

// === impl PostgresMetrics ===

impl PostgresMetrics {
    /// Records a transaction that has stored these rows. `new` of them were not in the database
    /// before.
    pub(crate) fn stored(&self, rows: &[ResponseRow], new: u64) {
        let repeated = (rows.len() as u64).saturating_sub(new);
        self.common.records("written", new);
        self.common.records("repeated", repeated);
        self.common.written(rows.iter().map(|row| row.accepted));
        self.transaction("stored");
    }

    pub(crate) fn failed(&self, failure: &PostgresFailure) {
        self.transaction(match failure {
            PostgresFailure::Row(_) => "bad-row",
            PostgresFailure::Fenced => "fenced",
            PostgresFailure::Refused { .. } => "refused",
            PostgresFailure::Passing(_) => "unknown",
        });
    }

    fn transaction(&self, outcome: &str) {
        self.transactions.count(self.common.sink(), outcome);
    }
}
