//! A step: one plug-in with its configuration between topics, which is one consumer group.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{Location, Section};
use crate::{
    mistake::nearest,
    progress::Stage,
    schema::Schema,
    topic::{self, DEFAULT_PARTITIONS, Topic},
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
}

/// What a plug-in says of itself, as far as an app must fit to it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PluginFacts {
    /// Input ports.
    pub inputs: Vec<String>,
    /// Output ports.
    pub outputs: Vec<String>,
    /// Names of its stores.
    pub stores: Vec<String>,
    /// JSON Schema of its configuration.
    pub config_schema: Value,
}

/// The plug-ins that are there.
pub trait Plugins {
    /// What is known of the plug-in that a step names; none if there is no such.
    fn find(&self, reference: &str) -> Option<PluginFacts>;
    /// All names, for messages.
    fn names(&self) -> Vec<String>;
}

// === impl Step ===

impl Step {
    pub(super) fn read(section: &mut Section<'_>, app: &str) -> Self {
        Self {
            app: app.to_owned(),
            name: section.required_name("name"),
            plugin: section.required_text("plugin"),
            input: section.text_lists("input"),
            output: section.text_map("output"),
            config: section.json("config"),
            limits: Limits::read(section),
            workers: section.size("workers", 1, 1..=64),
            location: section.location(),
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

    pub(super) fn stage(&self) -> Stage {
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

    /// Holds the step against its plug-in.
    pub(super) fn check_plugin(
        &self,
        section: &mut Section<'_>,
        plugins: &dyn Plugins,
    ) -> Option<PluginFacts> {
        let Some(facts) = plugins.find(&self.plugin) else {
            let names = plugins.names();
            let remedy = match nearest(&self.plugin, names.iter().map(String::as_str)) {
                Some(name) => format!("did you mean `{name}`?"),
                None if names.is_empty() => {
                    "put its .wasm into the plug-in folder (none is there)".to_owned()
                }
                None => format!("name one of {}", names.join(", ")),
            };
            section.mistake(
                "plugin",
                &format!("there is no plug-in `{}`", self.plugin),
                &remedy,
            );
            return None;
        };
        check_ports(section, "input", &facts.inputs, self.input.keys());
        check_ports(section, "output", &facts.outputs, self.output.keys());
        self.check_config(section, &facts);
        Some(facts)
    }

    fn check_config(&self, section: &mut Section<'_>, facts: &PluginFacts) {
        match Schema::compile(facts.config_schema.clone()) {
            Ok(schema) => {
                for violation in schema.violations(&self.config) {
                    let problem = format!("config {}: {}", violation.pointer, violation.detail);
                    section.mistake(
                        "config",
                        &problem,
                        "write what the plug-in's configuration schema asks for",
                    );
                }
            }
            Err(error) => section.mistake(
                "plugin",
                &format!("the plug-in's configuration schema cannot be used: {error}"),
                "ask the plug-in's author for a version with a valid schema",
            ),
        }
    }
}

fn check_ports<'a>(
    section: &mut Section<'_>,
    key: &str,
    declared: &[String],
    bound: impl Iterator<Item = &'a String> + Clone,
) {
    for port in declared {
        if !bound.clone().any(|name| name == port) {
            let remedy = format!("bind it, for instance {key} = {{ {port} = … }}");
            section.mistake(
                key,
                &format!("the plug-in's {key} port `{port}` is not bound"),
                &remedy,
            );
        }
    }
    for port in bound {
        if !declared.contains(port) {
            let remedy = format!("the plug-in has {}", declared.join(", "));
            section.mistake(
                key,
                &format!("the plug-in has no {key} port `{port}`"),
                &remedy,
            );
        }
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            event: Duration::from_millis(500),
            batch: Duration::from_secs(5),
        }
    }
}

impl Limits {
    fn read(section: &mut Section<'_>) -> Self {
        let mut table = section.table_or_empty("limits");
        let milliseconds = |count: u32| Duration::from_millis(count.into());
        let read = Self {
            memory: table.size("memory_mib", 64, 1..=4096) << 20,
            event: milliseconds(table.count("event_ms", 500, 1..=60_000)),
            batch: milliseconds(table.count("batch_ms", 5000, 10..=60_000)),
        };
        table.finish();
        read
    }
}
