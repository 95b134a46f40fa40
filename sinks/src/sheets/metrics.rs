//! The Prometheus metrics that only sheets sinks have.

use formline_core::{Telemetry, telemetry::counters};
use prometheus::{GaugeVec, IntCounterVec, Opts};

use super::log::{batch::BatchRow, checkpoint::MAX_CELLS};
use crate::engine::metrics::SinkMetrics;

/// The metrics of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SheetsMetrics {
    pub(crate) common: SinkMetrics,
    families: SheetsMetricFamilies,
}

/// The metrics of all sheets sinks, registered once per process.
#[derive(Clone, Debug)]
pub(crate) struct SheetsMetricFamilies {
    requests: IntCounterVec,
    cells_used: GaugeVec,
}

/// Registers the metrics that only sheets sinks have.
pub(crate) fn register_metrics(telemetry: &Telemetry) {
    SheetsMetricFamilies::register(telemetry);
}

// === impl SheetsMetricFamilies ===

impl SheetsMetricFamilies {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let families = Self {
            requests: counters(
                "formline_sheets_requests_total",
                "Calls of the Google Sheets API, by outcome.",
                &["outcome"],
            ),
            cells_used: GaugeVec::new(
                Opts::new(
                    "formline_sheets_cells_used_ratio",
                    "Share of the 10 million cells that a spreadsheet can have.",
                ),
                &["sink"],
            )
            .expect("the name is a legal metric name"),
        };
        telemetry.register(families.requests.clone());
        telemetry.register(families.cells_used.clone());
        families
    }

    pub(crate) fn of(&self, common: SinkMetrics) -> SheetsMetrics {
        SheetsMetrics {
            common,
            families: self.clone(),
        }
    }
}

// === impl SheetsMetrics ===

impl SheetsMetrics {
    /// Records that the sheet holds these rows, and that the spreadsheet has `cells` cells.
    pub(crate) fn written(&self, rows: &[BatchRow], cells: u64) {
        for row in rows {
            let outcome = if row.is_late { "late" } else { "written" };
            self.common.records(outcome, 1);
        }
        self.common.written(rows.iter().map(|row| row.row.key.time));
        self.cells(cells);
    }

    /// Counts a call by its outcome.
    pub(crate) fn request(&self, outcome: &str) {
        self.families.requests.with_label_values(&[outcome]).inc();
    }

    /// Sets the number of cells of the whole spreadsheet.
    pub(crate) fn cells(&self, count: u64) {
        let used = self
            .families
            .cells_used
            .with_label_values(&[self.common.sink()]);
        used.set(count as f64 / MAX_CELLS as f64);
    }
}
