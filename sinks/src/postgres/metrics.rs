//! What Prometheus is told of the postgres sinks alone.

use super::{failure::Failure, row::Row};
use crate::metrics::{self, Outcomes};

/// The metrics of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) common: metrics::Metrics,
    pub(crate) transactions: Outcomes,
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
        self.transactions.count(self.common.sink(), outcome);
    }
}
