//! What runs: apps as their folders declare them, checked as a whole before anything starts.
//!
//! `document` and `section` read what was written, `form`, `step` and `sink` turn one section each into what is meant,
//! `plugin` holds a step against its plug-in, `check` the outlines of all apps against each other.

mod check;
mod form;
mod index;
mod load;
mod plugin;
mod schedule;
pub mod schema;
mod sink;
mod step;
#[cfg(test)]
mod tests;
mod webhook;

use std::{path::PathBuf, sync::Arc};

pub use self::{
    form::{Form, Key, RateLimit, Sanitize},
    load::load,
    plugin::{PluginFacts, Plugins, UnknownPlugins},
    sink::{
        Buffer, Email, Postgres, Sheets, Sink, SinkKind, is_postgres_schema, is_spreadsheet_id,
    },
    step::{Limits, Step},
    webhook::Webhook,
};
pub use crate::config::{Environment, Location, process_environment};
use crate::kafka::{
    client,
    group_progress::Stage,
    topic::{self, Topic},
};

/// One app: forms, steps and sinks that belong together.
#[derive(Debug)]
pub struct App {
    /// Its name, part of every consumer group and changelog.
    pub name: String,
    /// Where it was read.
    pub folder: PathBuf,
    /// All topics that it needs: declared ones, outputs of steps, changelogs, dead letters.
    pub topics: Vec<Topic>,
    /// Its HTTP endpoints.
    pub forms: Vec<Arc<Form>>,
    /// Its steps.
    pub steps: Vec<Arc<Step>>,
    /// Its sinks.
    pub sinks: Vec<Arc<Sink>>,
}

// === impl App ===

impl App {
    /// The declared or derived topic of that name.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// The consumer groups that a record passes, in order, before it can arrive at one of `inputs`: first those that
    /// read a form's topic, last those that write the inputs.
    pub fn upstream(&self, inputs: &[String]) -> Vec<Stage> {
        let mut stages: Vec<Stage> = Vec::new();
        let mut wanted = inputs.to_vec();
        let mut left: Vec<&Step> = self.steps.iter().map(AsRef::as_ref).collect();
        while !wanted.is_empty() {
            let writes = |step: &&Step| step.output.values().any(|topic| wanted.contains(topic));
            let (layer, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(writes);
            wanted = layer.iter().flat_map(|step| step.topics()).collect();
            stages.splice(0..0, layer.into_iter().map(Step::stage));
            left = rest;
        }
        stages
    }

    fn dead_letters(&self) -> impl Iterator<Item = Topic> + '_ {
        let steps = self.steps.iter().map(|step| step.name.as_str());
        let sinks = self.sinks.iter().map(|sink| sink.name.as_str());
        steps.chain(sinks).map(|name| Topic {
            name: topic::dead_letter(&self.name, name),
            partitions: 1,
            config: DEAD_LETTER_CONFIG
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        })
    }
}

/// Dead letters wait 30 days for a person, who may be on holiday; and each is larger than the record that it was.
const DEAD_LETTER_CONFIG: [(&str, &str); 2] = [
    ("retention.ms", "2592000000"),
    ("max.message.bytes", client::RECORD_BYTES),
];
