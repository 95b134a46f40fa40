//! An app with its topics, forms, steps and sinks.

use std::{path::PathBuf, sync::Arc};

use super::{form::Form, sink::Sink, step::Step};
use crate::kafka::{
    client,
    group_progress::Stage,
    topic::{self, Topic},
};

/// An app: forms, steps and sinks that belong together. [`load`](super::load) reads it.
///
/// ```
/// use formline_core::app::{self, UnknownPlugins};
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("note.json"), r#"{ "type": "object" }"#)?;
/// std::fs::write(
///     folder.path().join("app.toml"),
///     r#"
///         [app]
///         name = "notes"
///         [[topic]]
///         name = "notes"
///         [[form]]
///         name = "note"
///         path = "/note"
///         topic = "notes"
///         schema = "note.json"
///     "#,
/// )?;
/// let folders = [folder.path().to_owned()];
/// let apps = app::load(&folders, &UnknownPlugins, &app::process_environment).expect("valid");
/// assert_eq!(apps[0].forms[0].path, "/note");
/// assert_eq!(apps[0].topic("notes").map(|topic| topic.partitions), Some(6));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct App {
    /// Its name, part of every consumer group and changelog.
    pub name: String,
    /// The folder that it was read from.
    pub folder: PathBuf,
    /// All topics that it needs: declared topics, outputs of steps, changelogs, topics of sinks and
    /// dead letters.
    pub topics: Vec<Topic>,
    /// Its HTTP endpoints.
    pub forms: Vec<Arc<Form>>,
    /// Its steps.
    pub steps: Vec<Arc<Step>>,
    /// Its sinks.
    pub sinks: Vec<Arc<Sink>>,
}

/// Dead letters are kept for 30 days, for an operator who may be on holiday. Each of them is larger
/// than the original record.
const DEAD_LETTER_CONFIG: [(&str, &str); 2] = [
    ("retention.ms", "2592000000"),
    ("max.message.bytes", client::RECORD_BYTES),
];

// === impl App ===

impl App {
    /// Returns the declared or derived topic of that name.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// The consumer groups that a record passes before it arrives at one of `inputs`, in order:
    /// first those that read the topic of a form, last those that write the inputs.
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

    /// The dead-letter topic of each step and sink.
    pub(super) fn dead_letters(&self) -> impl Iterator<Item = Topic> + '_ {
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
