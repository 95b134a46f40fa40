//! A step: a plug-in with its configuration between topics, which is one consumer group.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{
    index::{Node, NodeKind},
    plugin::PluginFacts,
};
use crate::{
    config::{Location, SectionReader, keys::app_toml as keys},
    kafka::{
        group_progress::Stage,
        topic::{self, DEFAULT_PARTITIONS, Topic},
    },
};

/// A plug-in between topics.
#[derive(Debug)]
pub struct Step {
    /// App that declares it.
    pub app: String,
    /// Its name.
    pub name: String,
    /// The plug-in: `name` (the newest), `name@version` or `sha256:…`.
    pub plugin: String,
    /// Topics by the plug-in's input port.
    pub input: BTreeMap<String, Vec<String>>,
    /// Topic by the plug-in's output port.
    pub output: BTreeMap<String, String>,
    /// The plug-in's configuration, which satisfies its schema.
    pub config: Value,
    /// What an instance may use.
    pub limits: Limits,
    /// Threads of this process that work on it. Further processes join the same group.
    pub workers: usize,
    /// Where it is declared.
    pub location: Location,
}

/// What an instance of a plug-in may use. Above a limit of memory or time it is trapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Linear memory in bytes.
    pub memory: usize,
    /// Time for one event.
    pub event: Duration,
    /// Time for one batch. At the limit the batch ends early and its results so far are committed.
    pub batch: Duration,
    /// Bytes of keys and values that its stores may hold for each partition. At the limit `put`
    /// fails.
    pub state: u64,
}

// === impl Step ===

impl Step {
    pub(super) fn read(section: &mut SectionReader<'_>, app: &str) -> Self {
        let mut step = Self {
            app: app.to_owned(),
            name: section.text(&keys::step::NAME),
            plugin: section.text(&keys::step::PLUGIN),
            input: section.text_lists(&keys::step::INPUT),
            output: section.text_map(&keys::step::OUTPUT),
            config: section.json(&keys::step::CONFIG),
            limits: Limits::read(section),
            workers: section.size(&keys::step::WORKERS),
            location: section.location(),
        };
        step.open_unread(section);
        step
    }

    /// Gives an input or output that could not be read a port and a topic without a name, which may
    /// be any.
    fn open_unread(&mut self, section: &SectionReader<'_>) {
        if self.input.is_empty() && section.is_unread(&keys::step::INPUT) {
            self.input.insert(String::new(), vec![String::new()]);
        }
        if self.output.is_empty() && section.is_unread(&keys::step::OUTPUT) {
            self.output.insert(String::new(), String::new());
        }
    }

    /// The step for the index.
    pub(super) fn node(&self, has_state: bool) -> Node {
        Node {
            kind: NodeKind::Step { has_state },
            name: self.name.clone(),
            reads: self.topics(),
            writes: self.output.values().cloned().collect(),
            location: self.location.clone(),
        }
    }

    /// Its input topics, each once.
    pub fn topics(&self) -> Vec<String> {
        let mut topics: Vec<_> = self.input.values().flatten().cloned().collect();
        topics.sort();
        topics.dedup();
        topics
    }

    /// Returns the input port that a topic is bound to.
    pub fn port_of(&self, topic: &str) -> Option<&str> {
        let bound = self
            .input
            .iter()
            .find(|(_, topics)| topics.iter().any(|name| name == topic));
        bound.map(|(port, _)| port.as_str())
    }

    /// `<app>/<step>`, for messages.
    pub fn title(&self) -> String {
        format!("{}/{}", self.app, self.name)
    }

    /// Its consumer group.
    pub fn group(&self) -> String {
        topic::group(&self.app, &self.name)
    }

    /// Its dead-letter topic.
    pub fn dead_letter_topic(&self) -> String {
        topic::dead_letter(&self.app, &self.name)
    }

    /// The changelog of its stores.
    pub fn state_topic(&self) -> String {
        topic::state(&self.app, &self.name)
    }

    /// The step as a stage of the pipeline: its group, and what it reads.
    pub fn stage(&self) -> Stage {
        Stage {
            group: self.group(),
            topics: self.topics(),
        }
    }

    /// The changelog, if the plug-in keeps state: it has as many partitions as the inputs, and is
    /// compacted.
    pub(super) fn changelog(&self, facts: &PluginFacts, known: &[Topic]) -> Option<Topic> {
        if facts.stores.is_empty() {
            return None;
        }
        let inputs = self.topics();
        let input = known.iter().find(|topic| inputs.contains(&topic.name));
        Some(Topic {
            name: self.state_topic(),
            partitions: input.map_or(DEFAULT_PARTITIONS, |topic| topic.partitions),
            config: [("cleanup.policy".to_owned(), "compact".to_owned())].into(),
        })
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            event: Duration::from_millis(500),
            batch: Duration::from_secs(5),
            state: 1 << 30,
        }
    }
}

impl Limits {
    fn read(section: &mut SectionReader<'_>) -> Self {
        let mut table = section.table_or_empty(&keys::step::LIMITS);
        let state_mib = table.integer(&keys::limits::STATE_MIB).unsigned_abs();
        let read = Self {
            memory: table.size(&keys::limits::MEMORY_MIB) << 20,
            event: table.milliseconds(&keys::limits::EVENT_MS),
            batch: table.milliseconds(&keys::limits::BATCH_MS),
            state: state_mib << 20,
        };
        table.finish();
        read
    }
}
