//! The table of `formline top`: one row per stage, summed over the processes that work on it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    histogram::Histogram,
    stage::{Stage, StageMetrics, add},
    watched_process::{Scrape, WatchedProcess},
};

/// The stages of all processes at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) rows: Vec<StageRow>,
    /// Problems of whole processes, one per line.
    pub(super) notes: Vec<String>,
}

/// The figures of a stage.
#[derive(Clone, Debug)]
pub(super) struct StageRow {
    pub(super) stage: Stage,
    pub(super) metrics: StageMetrics,
    /// Events per second over the last interval.
    pub(super) rate: Option<f64>,
    /// 99th percentile of the latency within the window, in seconds.
    pub(super) p99: Option<f64>,
    /// Whether there were errors or dead letters within the window.
    pub(super) is_failing: bool,
    window: Histogram,
    /// Whether a process that has the stage responds.
    is_up: bool,
}

/// The column that rows are sorted by, in descending order. Stages are in the order of the
/// pipeline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SortOrder {
    Stage,
    Rate,
    Lag,
    P99,
    Errors,
}

pub(super) const HEADS: [&str; 9] = [
    "stage", "events", "rate/s", "lag", "p99", "errors", "dead", "plug-in", "state",
];

// === impl Table ===

impl Table {
    pub(super) fn of(processes: &[WatchedProcess]) -> Self {
        let (mut rows, mut notes) = (BTreeMap::new(), Vec::new());
        for process in processes {
            let WatchedProcess { address, error, .. } = process;
            if let Some(error) = error {
                notes.push(format!("{address} cannot be queried: {error}"));
            }
            let Some(latest) = process.latest() else {
                continue;
            };
            for stage in latest.metrics.stages.keys() {
                let row = rows.entry(stage.clone());
                let row = row.or_insert_with(|| StageRow::new(stage.clone()));
                if error.is_none() {
                    row.add(process);
                }
            }
            let waiting = latest.metrics.waiting.iter();
            let waiting = waiting.filter(|_| error.is_none());
            notes.extend(waiting.map(|reason| format!("{address} is waiting: {reason}")));
        }
        let mut rows: Vec<StageRow> = rows.into_values().collect();
        for row in &mut rows {
            row.p99 = row.window.quantile(0.99);
        }
        Self { rows, notes }
    }

    pub(super) fn sort(&mut self, order: SortOrder) {
        let descending = |row: &StageRow| -order.figure(row);
        let by_figure = |a: &StageRow, b: &StageRow| descending(a).total_cmp(&descending(b));
        self.rows
            .sort_by(|a, b| by_figure(a, b).then_with(|| a.stage.cmp(&b.stage)));
    }

    /// Plain text without colours or control sequences.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![HEADS.map(str::to_owned)];
        lines.extend(self.rows.iter().map(StageRow::cells));
        let width = |column: usize| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: [usize; HEADS.len()] = std::array::from_fn(width);
        let mut text = String::new();
        for line in &lines {
            let cells = line.iter().zip(widths).enumerate();
            let cells = cells.map(|(column, (cell, width))| match is_number(column) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        for note in &self.notes {
            text += &format!("{note}\n");
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(StageRow::json).collect();
        json!({ "stages": rows, "notes": self.notes })
    }
}

/// Whether a column is numeric, and right-aligned.
pub(super) fn is_number(column: usize) -> bool {
    (1..=6).contains(&column)
}

// === impl StageRow ===

impl StageRow {
    fn new(stage: Stage) -> Self {
        Self {
            stage,
            metrics: StageMetrics::default(),
            rate: None,
            p99: None,
            is_failing: false,
            window: Histogram::default(),
            is_up: false,
        }
    }

    /// Adds the figures of a process.
    fn add(&mut self, process: &WatchedProcess) {
        let of = |scrape: &Scrape| {
            let metrics = scrape.metrics.stages.get(&self.stage)?;
            Some((scrape.at, metrics.clone()))
        };
        let Some((now, latest)) = process.latest().and_then(of) else {
            return;
        };
        if let Some((then, previous)) = process.previous().and_then(of) {
            let seconds = now.duration_since(then).as_secs_f64();
            let events = increase(latest.events, previous.events);
            add(&mut self.rate, events / seconds);
        }
        if let Some((_, oldest)) = process.oldest().and_then(of) {
            self.window.merge(&latest.latency.since(&oldest.latency));
            let has_increased = |now: Option<f64>, then: Option<f64>| {
                increase(now.unwrap_or(0.0), then.unwrap_or(0.0)) > 0.0
            };
            self.is_failing |= has_increased(latest.errors, oldest.errors)
                || has_increased(latest.dead_letters, oldest.dead_letters);
        }
        self.is_up = true;
        self.metrics.merge(latest);
    }

    /// The cells as text, in the order of [`HEADS`].
    pub(super) fn cells(&self) -> [String; HEADS.len()] {
        let count = |number: Option<f64>| number.map_or("-".to_owned(), |n| format!("{n:.0}"));
        let metrics = &self.metrics;
        [
            self.stage.to_string(),
            count(self.is_up.then_some(metrics.events)),
            self.rate
                .map_or("-".to_owned(), |rate| format!("{rate:.1}")),
            count(metrics.lag),
            self.p99.map_or("-".to_owned(), duration),
            count(metrics.errors),
            count(metrics.dead_letters),
            metrics.plugin.clone().unwrap_or_else(|| "-".to_owned()),
            self.state(),
        ]
    }

    /// Whether the stage is up and none of its workers is waiting.
    pub(super) fn is_ready(&self) -> bool {
        self.is_up && self.metrics.waiting.is_empty()
    }

    fn state(&self) -> String {
        let StageMetrics {
            workers, waiting, ..
        } = &self.metrics;
        match waiting.as_slice() {
            _ if !self.is_up => "away".to_owned(),
            [] => "ready".to_owned(),
            [reason, ..] if waiting.len() == *workers => reason.clone(),
            [reason, ..] => format!("{} of {workers} waiting: {reason}", waiting.len()),
        }
    }

    fn json(&self) -> Value {
        let metrics = &self.metrics;
        json!({
            "stage": self.stage.to_string(),
            "events": self.is_up.then_some(metrics.events),
            "rate": self.rate,
            "lag": metrics.lag,
            "p99_seconds": self.p99,
            "errors": metrics.errors,
            "dead_letters": metrics.dead_letters,
            "plugin": metrics.plugin,
            "state": self.state(),
        })
    }
}

// === impl StageMetrics ===

impl StageMetrics {
    fn merge(&mut self, other: Self) {
        self.events += other.events;
        for (sum, value) in [
            (&mut self.errors, other.errors),
            (&mut self.dead_letters, other.dead_letters),
            (&mut self.lag, other.lag),
        ] {
            if let Some(value) = value {
                add(sum, value);
            }
        }
        // During a swap the processes run two versions.
        self.plugin = match (self.plugin.take(), other.plugin) {
            (Some(one), Some(another)) if one != another => Some(format!("{one}, {another}")),
            (one, another) => one.or(another),
        };
        self.workers += other.workers;
        self.waiting.extend(other.waiting);
    }
}

/// The increase of a counter. A counter that is smaller than before was reset by a restart.
fn increase(now: f64, before: f64) -> f64 {
    if now < before { now } else { now - before }
}

/// A duration in a suitable unit. The buckets are too wide for more digits.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

// === impl SortOrder ===

impl SortOrder {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Stage => Self::Rate,
            Self::Rate => Self::Lag,
            Self::Lag => Self::P99,
            Self::P99 => Self::Errors,
            Self::Errors => Self::Stage,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Rate => "rate",
            Self::Lag => "lag",
            Self::P99 => "p99",
            Self::Errors => "errors",
        }
    }

    fn figure(self, row: &StageRow) -> f64 {
        let figure = match self {
            Self::Stage => None,
            Self::Rate => row.rate,
            Self::Lag => row.metrics.lag,
            Self::P99 => row.p99,
            Self::Errors => row.metrics.errors,
        };
        figure.unwrap_or(0.0)
    }
}
