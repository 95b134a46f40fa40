//! An app as `check` sees it: names, paths, and which topics are read and written. Unlike the app
//! itself, it also contains the sections that could not be read completely.
//!
//! An empty name represents one that could not be read. It may be any name, and the reason is
//! already reported.

use std::collections::BTreeMap;

use crate::{
    config::{Location, SectionReader, keys::app_toml as keys},
    kafka::topic::{self, DEFAULT_PARTITIONS, Topic},
};

/// What is known about one app.
#[derive(Debug)]
pub(super) struct AppIndex {
    /// Its name.
    pub(super) app: String,
    /// Where the name is.
    pub(super) location: Location,
    /// The topics that have a section of their own.
    pub(super) declared: Vec<TopicDeclaration>,
    /// All topics, also those that follow from steps and sinks, with their partitions if these are
    /// known.
    pub(super) topics: BTreeMap<String, Option<i32>>,
    /// Forms, steps and sinks.
    pub(super) nodes: Vec<Node>,
}

/// A `[[topic]]`.
#[derive(Debug)]
pub(super) struct TopicDeclaration {
    pub(super) topic: Topic,
    pub(super) knows_partitions: bool,
    pub(super) location: Location,
}

/// A form, step or sink.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) name: String,
    pub(super) reads: Vec<String>,
    pub(super) writes: Vec<String>,
    pub(super) location: Location,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum NodeKind {
    Form {
        path: String,
    },
    Step {
        has_state: bool,
    },
    Sink {
        /// What no other sink may write to, if it is known.
        targets: Vec<String>,
        /// Whether its effect happens once although its input contains a submission twice.
        deduplicates: bool,
    },
}

// === impl AppIndex ===

impl AppIndex {
    pub(super) fn new(
        app: String,
        location: Location,
        declared: Vec<TopicDeclaration>,
        all: &[Topic],
        nodes: Vec<Node>,
    ) -> Self {
        let mut topics: BTreeMap<_, _> = all
            .iter()
            .map(|topic| (topic.name.clone(), Some(topic.partitions)))
            .collect();
        for unknown in declared.iter().filter(|topic| !topic.knows_partitions) {
            topics.insert(unknown.topic.name.clone(), None);
        }
        // Also for a sink of an unknown kind, which the app does not contain.
        for sink in nodes.iter().filter(|node| node.is_sink()) {
            topics.insert(topic::dead_letter(&app, &sink.name), Some(1));
        }
        Self {
            app,
            location,
            declared,
            topics,
            nodes,
        }
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = &Node> {
        let is_step = |node: &&Node| matches!(node.kind, NodeKind::Step { .. });
        self.nodes.iter().filter(is_step)
    }
}

// === impl TopicDeclaration ===

impl TopicDeclaration {
    pub(super) fn read(section: &mut SectionReader<'_>) -> Self {
        let name = section.text(&keys::topic::NAME);
        let partitions = section.integer(&keys::topic::PARTITIONS);
        let topic = Topic {
            name,
            partitions: i32::try_from(partitions).unwrap_or(DEFAULT_PARTITIONS),
            config: section.text_map(&keys::topic::CONFIG),
        };
        Self {
            topic,
            knows_partitions: !section.is_unread(&keys::topic::PARTITIONS),
            location: section.location(),
        }
    }

    /// Represents the `[[topic]]`s that could not be read.
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

// === impl Node ===

impl Node {
    pub(super) fn is_sink(&self) -> bool {
        matches!(self.kind, NodeKind::Sink { .. })
    }

    /// Represents the forms, steps and sinks that could not be read: it may read and write any
    /// topic.
    pub(super) fn unknown(location: Location) -> Self {
        Self {
            kind: NodeKind::Step { has_state: false },
            name: String::new(),
            reads: vec![String::new()],
            writes: vec![String::new()],
            location,
        }
    }
}
