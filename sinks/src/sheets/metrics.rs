//! What Prometheus is told of the sheets sinks.

use formline_core::{
    Telemetry,
    app::Sink,
    telemetry::{counters, gauges, histograms},
};
use jiff::Timestamp;
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

use super::{batch::Line, request::FIXED};

/// The metrics of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    app: String,
    name: String,
    /// `app.sink`: names of sinks are unique only within their app.
    sink: String,
    all: All,
}

/// The metrics of all sinks, registered once.
#[derive(Clone, Debug)]
pub(crate) struct All {
    records: IntCounterVec,
    batch_size: HistogramVec,
    buffered: IntGaugeVec,
    requests: IntCounterVec,
    cells_used: GaugeVec,
    dead_letters: IntCounterVec,
    end_to_end: HistogramVec,
}

/// Google's limit of cells in a spreadsheet, empty ones included.
const MAX_CELLS: f64 = 10_000_000.0;

const SIZES: &[f64] = &[
    1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0,
];

// === impl All ===

impl All {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let all = Self {
            records: counters(
                "formline_sink_records_total",
                "Records that a sink is done with.",
                &["sink", "outcome"],
            ),
            batch_size: histograms(
                "formline_sink_batch_size",
                "Records of one write.",
                &["sink"],
                SIZES,
            ),
            buffered: gauges(
                "formline_sink_buffered_records",
                "Records that wait for their write.",
                &["sink"],
            ),
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
            dead_letters: telemetry.dead_letters().clone(),
            end_to_end: telemetry.end_to_end().clone(),
        };
        telemetry.register(all.records.clone());
        telemetry.register(all.batch_size.clone());
        telemetry.register(all.buffered.clone());
        telemetry.register(all.requests.clone());
        telemetry.register(all.cells_used.clone());
        all
    }

    pub(crate) fn of(&self, sink: &Sink) -> Metrics {
        Metrics {
            app: sink.app.clone(),
            name: sink.name.clone(),
            sink: format!("{}.{}", sink.app, sink.name),
            all: self.clone(),
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// The sheet holds these rows.
    pub(crate) fn written(&self, lines: &[Line], columns: usize) {
        let now = Timestamp::now().as_microsecond();
        let latency = self
            .all
            .end_to_end
            .with_label_values(&[&self.app, &self.name]);
        for line in lines {
            self.record(if line.late { "late" } else { "written" });
            latency.observe((now - line.row.key.time).max(0) as f64 / 1e6);
        }
        if !lines.is_empty() {
            self.all
                .batch_size
                .with_label_values(&[&self.sink])
                .observe(lines.len() as f64);
        }
        let cells = lines.len() * (FIXED.len() + columns);
        self.all
            .cells_used
            .with_label_values(&[&self.sink])
            .add(cells as f64 / MAX_CELLS);
    }

    pub(crate) fn dead_letter(&self, reason: &str) {
        self.record("dead-letter");
        self.all
            .dead_letters
            .with_label_values(&[self.name.as_str(), reason])
            .inc();
    }

    pub(crate) fn buffered(&self, rows: usize) {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.all.buffered.with_label_values(&[&self.sink]).set(rows);
    }

    /// The outcome of one call.
    pub(crate) fn request(&self, outcome: &str) {
        self.all.requests.with_label_values(&[outcome]).inc();
    }

    /// The cells of the whole spreadsheet.
    pub(crate) fn cells(&self, count: u64) {
        self.all
            .cells_used
            .with_label_values(&[&self.sink])
            .set(count as f64 / MAX_CELLS);
    }

    fn record(&self, outcome: &str) {
        self.all
            .records
            .with_label_values(&[self.sink.as_str(), outcome])
            .inc();
    }
}
