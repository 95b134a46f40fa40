//! An app as its sections see each other: names, paths, and which topics are read and written. Unlike the app itself
//! it also has the sections that could not be read whole.
//!
//! An empty name stands for one that could not be read. It may be any, and why it is not known has been noted.

use std::collections::BTreeMap;

use super::{Location, Step};
use crate::config::SectionReader;
use crate::kafka::topic::{self, DEFAULT_PARTITIONS, Topic};

/// What is known of one app.
#[derive(Debug)]
pub(super) struct AppIndex {
    /// Its name.
    pub(super) app: String,
    /// Where that stands.
    pub(super) location: Location,
    /// The topics that have a section of their own.
    pub(super) declared: Vec<Declared>,
    /// All topics, also those that follow from steps and sinks, with their partitions as far as these are known.
    pub(super) topics: BTreeMap<String, Option<i32>>,
    /// Forms, steps and sinks.
    pub(super) parts: Vec<Part>,
}

/// A topic with a section of its own.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) topic: Topic,
    pub(super) knows_partitions: bool,
    pub(super) location: Location,
}

/// A form, step or sink.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) reads: Vec<String>,
    pub(super) writes: Vec<String>,
    pub(super) location: Location,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Form {
        path: String,
    },
    Step {
        keeps_state: bool,
    },
    Sink {
        /// What nobody else may write to, if it is known.
        targets: Vec<String>,
        /// Whether it carries a submission out once although it stands twice in a topic.
        drops_repetitions: bool,
    },
}

// === impl AppIndex ===

impl AppIndex {
    pub(super) fn new(
        app: String,
        location: Location,
        declared: Vec<Declared>,
        all: &[Topic],
        parts: Vec<Part>,
    ) -> Self {
        let mut topics: BTreeMap<_, _> = all
            .iter()
            .map(|topic| (topic.name.clone(), Some(topic.partitions)))
            .collect();
        for unknown in declared.iter().filter(|topic| !topic.knows_partitions) {
            topics.insert(unknown.topic.name.clone(), None);
        }
        // Also of a sink whose kind is not known, which the app therefore does not have.
        for sink in parts.iter().filter(|part| part.is_sink()) {
            topics.insert(topic::dead_letter(&app, &sink.name), Some(1));
        }
        Self {
            app,
            location,
            declared,
            topics,
            parts,
        }
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = &Part> {
        let is_step = |part: &&Part| matches!(part.kind, Kind::Step { .. });
        self.parts.iter().filter(is_step)
    }
}

// === impl Declared ===

impl Declared {
    pub(super) fn read(section: &mut SectionReader<'_>) -> Self {
        let name = section.required_text("name");
        check_topics(section, "name", [&name]);
        let partitions = section.integer("partitions", DEFAULT_PARTITIONS.into(), 1..=10_000);
        let topic = Topic {
            name,
            partitions: i32::try_from(partitions).unwrap_or(DEFAULT_PARTITIONS),
            config: section.text_map("config"),
        };
        Self {
            topic,
            knows_partitions: !section.is_unread("partitions"),
            location: section.location(),
        }
    }

    /// For `[[topic]]`s that could not be read.
    pub(super) fn unknown(location: Location) -> Self {
        let topic = Topic {
            name: String::new(),
            partitions: DEFAULT_PARTITIONS,
            config: BTreeMap::new(),
        };
        Self {
            topic,
            knows_partitions: false,
            location,
        }
    }
}

// === impl Part ===

impl Part {
    pub(super) fn of_step(step: &Step, keeps_state: bool) -> Self {
        Self {
            kind: Kind::Step { keeps_state },
            name: step.name.clone(),
            reads: step.topics(),
            writes: step.output.values().cloned().collect(),
            location: step.location.clone(),
        }
    }

    pub(super) fn is_sink(&self) -> bool {
        matches!(self.kind, Kind::Sink { .. })
    }

    /// For `[[step]]`s that could not be read, and also for forms and sinks: it may read and write whatever it likes.
    pub(super) fn unknown(location: Location) -> Self {
        Self {
            kind: Kind::Step { keeps_state: false },
            name: String::new(),
            reads: vec![String::new()],
            writes: vec![String::new()],
            location,
        }
    }
}

/// Notes names that Kafka does not take. Whether there is a topic of a name is asked later, when all are known.
pub(super) fn check_topics<'t>(
    section: &SectionReader<'_>,
    key: &str,
    names: impl IntoIterator<Item = &'t String>,
) {
    let is_unread = |name: &str| name.is_empty() && section.is_unread(key);
    for name in names {
        if !topic::is_legal(name) && !is_unread(name) {
            section.mistake(
                key,
                &format!("kafka does not take the topic name `{name}`"),
                "use letters, digits, `.`, `_` and `-`, at most 249",
            );
        }
    }
}
