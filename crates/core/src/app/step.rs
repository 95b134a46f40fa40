//! A step: one plug-in with its configuration between topics, which is one consumer group.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{Location, PluginFacts, index::check_topics};
use crate::config::SectionReader;
use crate::{
    kafka::group_progress::Stage,
    kafka::topic::{self, DEFAULT_PARTITIONS, Topic},
};

/// One plug-in between topics.
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
    /// Threads of this process that work on it. More processes join the same group.
    pub workers: usize,
    /// Where it is declared.
    pub location: Location,
}

/// What an instance of a plug-in may use; beyond, it is trapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Linear memory in bytes.
    pub memory: usize,
    /// Time for one event.
    pub event: Duration,
    /// Time for one batch. At the bound the batch ends early and what is done is committed.
    pub batch: Duration,
    /// Bytes of keys and values that its stores may hold in each partition. At the bound `put` fails.
    pub state: u64,
}

// === impl Step ===

impl Step {
    pub(super) fn read(section: &mut SectionReader<'_>, app: &str) -> Self {
        let mut step = Self {
            app: app.to_owned(),
            name: section.required_name("name"),
            plugin: section.required_text("plugin"),
            input: section.text_lists("input"),
            output: section.text_map("output"),
            config: section.json("config"),
            limits: Limits::read(section),
            workers: section.size("workers", 1, 1..=64),
            location: section.location(),
        };
        check_topics(section, "input", step.input.values().flatten());
        check_topics(section, "output", step.output.values());
        step.open_unread(section);
        step
    }

    /// Gives an input or output that could not be read a port and topic without a name, which may be any.
    fn open_unread(&mut self, section: &SectionReader<'_>) {
        if self.input.is_empty() && section.is_unread("input") {
            self.input.insert(String::new(), vec![String::new()]);
        }
        if self.output.is_empty() && section.is_unread("output") {
            self.output.insert(String::new(), String::new());
        }
    }

    /// Its input topics, each once.
    pub fn topics(&self) -> Vec<String> {
        let mut topics: Vec<_> = self.input.values().flatten().cloned().collect();
        topics.sort();
        topics.dedup();
        topics
    }

    /// The input port that a topic is bound to.
    pub fn port_of(&self, topic: &str) -> Option<&str> {
        let bound = self
            .input
            .iter()
            .find(|(_, topics)| topics.iter().any(|name| name == topic));
        bound.map(|(port, _)| port.as_str())
    }

    /// `<app>/<step>`, for people.
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

    /// The step as a stage of the line: its group, and what it reads.
    pub fn stage(&self) -> Stage {
        Stage {
            group: self.group(),
            topics: self.topics(),
        }
    }

    /// The changelog, if the plug-in keeps state: as many partitions as the inputs, and only the last value of a key.
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
        let mut table = section.table_or_empty("limits");
        let milliseconds = |count: u32| Duration::from_millis(count.into());
        let read = Self {
            memory: table.size("memory_mib", 64, 1..=4096) << 20,
            event: milliseconds(table.count("event_ms", 500, 1..=60_000)),
            batch: milliseconds(table.count("batch_ms", 5000, 10..=60_000)),
            state: u64::from(table.count("state_mib", 1024, 1..=1 << 20)) << 20,
        };
        table.finish();
        read
    }
}
