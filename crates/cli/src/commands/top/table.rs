//! The table of `formline top`: a row for each stage, summed over the processes that work on it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    histogram::Histogram,
    process::Process,
    stage::{Measures, Stage, add},
};

/// What all processes told, at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// What is wrong with processes as a whole, a line each.
    pub(super) notes: Vec<String>,
}

/// A stage.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) stage: Stage,
    pub(super) measures: Measures,
    /// Events a second over the last interval.
    pub(super) rate: Option<f64>,
    /// 99 of 100 took no longer, within the window; in seconds.
    pub(super) p99: Option<f64>,
    /// Whether errors or dead letters have come within the window.
    pub(super) is_failing: bool,
    window: Histogram,
    /// Whether some process has answered for it.
    is_here: bool,
}

/// What the rows are sorted by, falling; stages stand in the order of the line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
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
    pub(super) fn of(processes: &[Process]) -> Self {
        let (mut rows, mut notes) = (BTreeMap::new(), Vec::new());
        for process in processes {
            let Process { address, away, .. } = process;
            if let Some(problem) = away {
                notes.push(format!("{address} is away: {problem}"));
            }
            let Some(last) = process.last() else { continue };
            for stage in last.told.stages.keys() {
                let row = rows.entry(stage.clone());
                let row = row.or_insert_with(|| Row::new(stage.clone()));
                if away.is_none() {
                    row.add(process);
                }
            }
            let waiting = last.told.waiting.iter().filter(|_| away.is_none());
            notes.extend(waiting.map(|why| format!("{address} waits: {why}")));
        }
        let mut rows: Vec<Row> = rows.into_values().collect();
        for row in &mut rows {
            row.p99 = row.window.quantile(0.99);
        }
        Self { rows, notes }
    }

    pub(super) fn sort(&mut self, order: Order) {
        let falling = |row: &Row| -order.figure(row);
        let by_figure = |a: &Row, b: &Row| falling(a).total_cmp(&falling(b));
        self.rows
            .sort_by(|a, b| by_figure(a, b).then_with(|| a.stage.cmp(&b.stage)));
    }

    /// For a program or a log: no colours, no commands to a terminal.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![HEADS.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
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
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        json!({ "stages": rows, "notes": self.notes })
    }
}

/// Whether a column stands at the right.
pub(super) fn is_number(column: usize) -> bool {
    (1..=6).contains(&column)
}

// === impl Row ===

impl Row {
    fn new(stage: Stage) -> Self {
        Self {
            stage,
            measures: Measures::default(),
            rate: None,
            p99: None,
            is_failing: false,
            window: Histogram::default(),
            is_here: false,
        }
    }

    /// Adds what a process has told of the stage.
    fn add(&mut self, process: &Process) {
        let of = |scrape: &super::process::Scrape| {
            let measures = scrape.told.stages.get(&self.stage)?;
            Some((scrape.at, measures.clone()))
        };
        let Some((now, last)) = process.last().and_then(of) else {
            return;
        };
        if let Some((then, before)) = process.before().and_then(of) {
            let seconds = now.duration_since(then).as_secs_f64();
            add(&mut self.rate, grown(last.events, before.events) / seconds);
        }
        if let Some((_, first)) = process.first().and_then(of) {
            self.window.merge(&last.latency.since(&first.latency));
            let has_grown = |now: Option<f64>, then: Option<f64>| {
                grown(now.unwrap_or(0.0), then.unwrap_or(0.0)) > 0.0
            };
            self.is_failing |= has_grown(last.errors, first.errors)
                || has_grown(last.dead_letters, first.dead_letters);
        }
        self.is_here = true;
        self.measures.merge(last);
    }

    /// As a person reads it, in the order of `HEADS`.
    pub(super) fn cells(&self) -> [String; HEADS.len()] {
        let count = |number: Option<f64>| number.map_or("-".to_owned(), |n| format!("{n:.0}"));
        let measures = &self.measures;
        [
            self.stage.to_string(),
            count(self.is_here.then_some(measures.events)),
            self.rate
                .map_or("-".to_owned(), |rate| format!("{rate:.1}")),
            count(measures.lag),
            self.p99.map_or("-".to_owned(), duration),
            count(measures.errors),
            count(measures.dead_letters),
            measures.plugin.clone().unwrap_or_else(|| "-".to_owned()),
            self.state(),
        ]
    }

    /// Whether it does its work; else why not.
    pub(super) fn is_ready(&self) -> bool {
        self.is_here && self.measures.waiting.is_empty()
    }

    fn state(&self) -> String {
        let Measures { parts, waiting, .. } = &self.measures;
        match waiting.as_slice() {
            _ if !self.is_here => "away".to_owned(),
            [] => "ready".to_owned(),
            [why, ..] if waiting.len() == *parts => why.clone(),
            [why, ..] => format!("{} of {parts} wait: {why}", waiting.len()),
        }
    }

    fn json(&self) -> Value {
        let measures = &self.measures;
        json!({
            "stage": self.stage.to_string(),
            "events": self.is_here.then_some(measures.events),
            "rate": self.rate,
            "lag": measures.lag,
            "p99_seconds": self.p99,
            "errors": measures.errors,
            "dead_letters": measures.dead_letters,
            "plugin": measures.plugin,
            "state": self.state(),
        })
    }
}

impl Measures {
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
        // Two versions at once are what a swap looks like from outside.
        self.plugin = match (self.plugin.take(), other.plugin) {
            (Some(one), Some(another)) if one != another => Some(format!("{one}, {another}")),
            (one, another) => one.or(another),
        };
        self.parts += other.parts;
        self.waiting.extend(other.waiting);
    }
}

/// How much a counter has grown. If it has become smaller, its process has begun anew.
fn grown(now: f64, before: f64) -> f64 {
    if now < before { now } else { now - before }
}

/// In a unit that fits; buckets are too wide for more digits.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

// === impl Order ===

impl Order {
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

    fn figure(self, row: &Row) -> f64 {
        let figure = match self {
            Self::Stage => None,
            Self::Rate => row.rate,
            Self::Lag => row.measures.lag,
            Self::P99 => row.p99,
            Self::Errors => row.measures.errors,
        };
        figure.unwrap_or(0.0)
    }
}
