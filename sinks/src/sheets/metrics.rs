//! What Prometheus is told of the sheets sinks alone.

use formline_core::{Telemetry, telemetry::counters};
use prometheus::{GaugeVec, IntCounterVec, Opts};

use super::{batch::Line, mark::MAX_CELLS};
use crate::metrics;

/// The metrics of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) common: metrics::Metrics,
    all: All,
}

/// The metrics of all sheets sinks, registered once.
#[derive(Clone, Debug)]
pub(crate) struct All {
    requests: IntCounterVec,
    cells_used: GaugeVec,
}

// === impl All ===

impl All {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let all = Self {
            requests: counters(
                "formline_sheets_requests_total",
                "Calls of the Google Sheets API by what the answer meant.",
                &["outcome"],
            ),
            cells_used: GaugeVec::new(
                Opts::new(
                    "formline_sheets_cells_used_ratio",
                    "Share of the 10 million cells that a spreadsheet may have.",
                ),
                &["sink"],
            )
            .expect("the name is a legal metric name"),
        };
        telemetry.register(all.requests.clone());
        telemetry.register(all.cells_used.clone());
        all
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
    /// The sheet holds these rows, and the spreadsheet so many cells.
    pub(crate) fn written(&self, lines: &[Line], cells: u64) {
        for line in lines {
            let outcome = if line.late { "late" } else { "written" };
            self.common.records(outcome, 1);
        }
        self.common
            .written(lines.iter().map(|line| line.row.key.time));
        self.cells(cells);
    }

    /// The outcome of one call.
    pub(crate) fn request(&self, outcome: &str) {
        self.all.requests.with_label_values(&[outcome]).inc();
    }

    /// The cells of the whole spreadsheet.
    pub(crate) fn cells(&self, count: u64) {
        let used = self.all.cells_used.with_label_values(&[self.common.sink()]);
        used.set(count as f64 / MAX_CELLS as f64);
    }
}
