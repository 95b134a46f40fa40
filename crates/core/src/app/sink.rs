//! A sink: a consumer group whose effect leaves Kafka.

use std::time::Duration;

use super::{Location, Section};
use crate::{mistake::nearest, topic};

/// One way out.
#[derive(Debug)]
pub struct Sink {
    /// App that declares it.
    pub app: String,
    /// Its name.
    pub name: String,
    /// Input topics.
    pub input: Vec<String>,
    /// What it writes to.
    pub kind: SinkKind,
    /// Where it is declared.
    pub location: Location,
}

/// What a sink writes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SinkKind {
    /// A tab of a Google Sheet.
    Sheets(Sheets),
}

/// Settings of a sheets sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sheets {
    /// Id of the spreadsheet, as in its address.
    pub spreadsheet: String,
    /// Title of the tab; it is created if it is missing.
    pub tab: String,
    /// How long accepting a submission may take until it is in Kafka without losing its place in the order.
    pub grace: Duration,
    /// Rows are held back for those that were accepted earlier and are still under way, at most for this time.
    /// What comes later still is appended and flagged late.
    pub hold_back: Duration,
    /// Shortest time between two writes.
    pub flush_interval: Duration,
    /// Most rows of one write.
    pub batch_rows: usize,
}

/// Reads the settings of one kind.
type Read = fn(&mut Section<'_>) -> SinkKind;

/// Every kind by its name in an app's file.
const KINDS: &[(&str, Read)] = &[("sheets", Sheets::read)];

// === impl Sink ===

impl Sink {
    pub(super) fn read(section: &mut Section<'_>, app: &str) -> Option<Self> {
        let name = section.required_name("name");
        let input = section.texts("input");
        let location = section.location();
        let kind = section.required_text("kind");
        let Some((_, read)) = KINDS.iter().find(|(name, _)| *name == kind) else {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            let remedy = match nearest(&kind, names.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("name one of {}", names.join(", ")),
            };
            section.mistake(
                "kind",
                &format!("there is no sink of kind `{kind}`"),
                &remedy,
            );
            return None;
        };
        if input.is_empty() {
            section.mistake(
                "input",
                "the sink reads nothing",
                "write input = [\"topic\"]",
            );
        }
        let kind = read(section);
        Some(Self {
            app: app.to_owned(),
            name,
            input,
            kind,
            location,
        })
    }

    /// Its consumer group.
    pub fn group(&self) -> String {
        topic::group(&self.app, &self.name)
    }

    /// Its dead-letter topic.
    pub fn dead_letter_topic(&self) -> String {
        topic::dead_letter(&self.app, &self.name)
    }
}

// === impl Sheets ===

impl Sheets {
    fn read(section: &mut Section<'_>) -> SinkKind {
        let milliseconds = |count: u32| Duration::from_millis(count.into());
        SinkKind::Sheets(Self {
            spreadsheet: section.required_text("spreadsheet"),
            tab: section.required_text("tab"),
            grace: milliseconds(section.count("grace_ms", 750, 0..=60_000)),
            hold_back: milliseconds(section.count("hold_back_ms", 60_000, 1_000..=86_400_000)),
            // Google counts 60 writes a minute and user: one a second is what one sink may use.
            flush_interval: milliseconds(section.count(
                "flush_interval_ms",
                1_000,
                100..=86_400_000,
            )),
            batch_rows: section.size("batch_rows", 1_000, 1..=10_000),
        })
    }
}
