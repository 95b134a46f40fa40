//! Configuration of a sink that writes to a Google Sheet.

use std::time::Duration;

use crate::config::{SectionReader, keys::app_toml::sink};

/// Configuration of a sheets sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sheets {
    /// Id of the spreadsheet, as in its address.
    pub spreadsheet: String,
    /// The spreadsheets in which the sink continues, one after another, when it is full.
    pub further: Vec<String>,
    /// Title of the tab; created if it is missing.
    pub tab: String,
    /// How long it may take to accept a submission until it is in Kafka without losing its position
    /// in the order.
    pub grace: Duration,
    /// How long rows wait at most for submissions that were accepted earlier and are still being
    /// processed. A row that arrives later still is appended and flagged as late.
    pub hold_back: Duration,
    /// Minimum time between two writes.
    pub flush_interval: Duration,
    /// Maximum number of rows in one write.
    pub batch_rows: usize,
    /// Where rows wait until they are written.
    pub buffer: Buffer,
}

/// Where the rows of a sheets sink wait until they are written. It is rebuilt from Kafka whenever
/// it is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Buffer {
    /// In the memory of the sink.
    Memory,
    /// In the Redis of the installation ([`Settings::redis`](crate::Settings::redis)), where every
    /// process can flush them.
    Redis {
        /// Whether the sink flushes them itself, every `flush_interval`. If not, `formline flush`
        /// does.
        flushes: bool,
        /// Maximum number of rows that wait. At the limit the sink stops reading, and rows are
        /// written although an earlier one may still arrive.
        rows: usize,
    },
}

// === impl Sheets ===

impl Sheets {
    pub(super) fn read(section: &mut SectionReader<'_>) -> Self {
        let (spreadsheet, further) = read_spreadsheets(section);
        Self {
            spreadsheet,
            further,
            tab: section.text(&sink::TAB),
            grace: section.milliseconds(&sink::GRACE_MS),
            hold_back: section.milliseconds(&sink::HOLD_BACK_MS),
            flush_interval: section.milliseconds(&sink::FLUSH_INTERVAL_MS),
            batch_rows: section.size(&sink::BATCH_ROWS),
            buffer: Buffer::read(section),
        }
    }

    /// Every tab that it may write to, in words.
    pub(super) fn targets(&self) -> Vec<String> {
        if self.tab.is_empty() {
            return Vec::new();
        }
        let spreadsheets = std::iter::once(&self.spreadsheet).chain(&self.further);
        let known = spreadsheets.filter(|id| !id.is_empty());
        let target = |id| format!("a sink for tab `{}` of spreadsheet `{id}`", self.tab);
        known.map(target).collect()
    }
}

/// The first spreadsheet, and those that follow it.
fn read_spreadsheets(section: &mut SectionReader<'_>) -> (String, Vec<String>) {
    let mut ids = section.texts(&sink::SPREADSHEET);
    for (index, id) in ids.iter().enumerate().filter(|(_, id)| !id.is_empty()) {
        if ids[..index].contains(id) {
            let problem = format_args!("`{id}` is in the list twice");
            let remedy = "name each spreadsheet once, in the order in which to fill them";
            section.report(&sink::SPREADSHEET, problem, remedy);
        }
    }
    if ids.is_empty() {
        return (String::new(), ids);
    }
    (ids.remove(0), ids)
}

// === impl Buffer ===

impl Buffer {
    fn read(section: &mut SectionReader<'_>) -> Self {
        let buffer = section.choice(&sink::BUFFER);
        let flush = section.choice(&sink::FLUSH);
        let rows = section.size(&sink::BUFFER_ROWS);
        if buffer == Some(sink::REDIS) {
            let flushes = flush == Some(sink::INTERVAL);
            return Self::Redis { flushes, rows };
        }
        if flush == Some(sink::JOB) {
            let remedy = "write buffer = \"redis\", where `formline flush` finds the rows";
            section.report(
                &sink::FLUSH,
                "a job cannot read the memory of a sink",
                remedy,
            );
        }
        Self::Memory
    }
}
