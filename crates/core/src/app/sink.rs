//! A sink: a consumer group whose effect leaves Kafka.

use std::{collections::BTreeMap, time::Duration};

use super::{
    email::Email,
    index::{Node, NodeKind},
    postgres::Postgres,
    sheets::Sheets,
    webhook::Webhook,
};
use crate::{
    config::{
        Location, SectionReader,
        keys::app_toml::sink::{self, MAX_DELAYS},
    },
    kafka::{
        client,
        topic::{self, DEFAULT_PARTITIONS, Topic},
    },
};

/// A sink of an app.
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
    /// Tables in PostgreSQL.
    Postgres(Postgres),
    /// An e-mail to the address that a field contains.
    Email(Email),
    /// A call of an HTTP address.
    Webhook(Webhook),
}

/// 21 days: a delay may have seven. A record that Kafka deletes while it waits is lost, also one
/// that waits while the sink is switched off.
const RETRIES_RETENTION_MS: &str = "1814400000";

/// 30 days, as dead letters. `formline verify` can report the outcome of submissions for this long,
/// and no record waits longer for its next attempt.
const JOURNAL_RETENTION_MS: &str = "2592000000";

// === impl Sink ===

impl Sink {
    /// Reads a sink for the index and, if its kind is known, for the app.
    pub(super) fn read(section: &mut SectionReader<'_>, app: &str) -> (Node, Option<Self>) {
        let word = section.choice(&sink::KIND);
        section.set_kind(word);
        let name = section.text(&sink::NAME);
        let input = read_input(section);
        let kind = word.and_then(|word| SinkKind::read(word, section));
        let location = section.location();
        let node = Node {
            kind: NodeKind::Sink {
                targets: kind.as_ref().map(SinkKind::targets).unwrap_or_default(),
                deduplicates: kind.as_ref().is_some_and(SinkKind::deduplicates),
            },
            name: name.clone(),
            reads: input.clone(),
            writes: Vec::new(),
            location: location.clone(),
        };
        let sink = kind.map(|kind| Self {
            app: app.to_owned(),
            name,
            input,
            kind,
            location,
        });
        (node, sink)
    }

    /// Its consumer group.
    pub fn group(&self) -> String {
        topic::group(&self.app, &self.name)
    }

    /// Its dead-letter topic.
    pub fn dead_letter_topic(&self) -> String {
        topic::dead_letter(&self.app, &self.name)
    }

    /// The topic in which it records the outcome of each record.
    pub fn journal_topic(&self) -> String {
        topic::journal(&self.app, &self.name)
    }

    /// The topic in which records wait for their next attempt, if its kind defers them.
    pub fn retries_topic(&self) -> Option<String> {
        let defers = !self.kind.schedule().is_empty();
        defers.then(|| topic::retries(&self.app, &self.name))
    }

    /// Every topic that its consumer group reads.
    pub fn topics(&self) -> Vec<String> {
        let input = self.input.iter().cloned();
        input.chain(self.retries_topic()).collect()
    }

    /// The topics that only it writes and reads, except dead letters.
    pub(super) fn own_topics(&self, known: &[Topic]) -> Vec<Topic> {
        let retries = self.retries();
        let journal = self.journal(known, retries.as_ref());
        retries.into_iter().chain(journal).collect()
    }

    /// The topic of retries. Each partition holds the records that wait for one delay.
    fn retries(&self) -> Option<Topic> {
        let config = [
            ("cleanup.policy", "delete"),
            ("retention.ms", RETRIES_RETENTION_MS),
            ("max.message.bytes", client::RECORD_BYTES),
        ];
        Some(Topic {
            name: self.retries_topic()?,
            partitions: i32::try_from(MAX_DELAYS).unwrap_or(DEFAULT_PARTITIONS),
            config: owned(config),
        })
    }

    /// The journal, if its kind has one. An entry is in the partition of the same number as its
    /// record, so it has as many partitions as the largest topic that the sink reads.
    fn journal(&self, known: &[Topic], retries: Option<&Topic>) -> Option<Topic> {
        if !self.kind.has_journal() {
            return None;
        }
        let inputs = known
            .iter()
            .filter(|topic| self.input.contains(&topic.name));
        let read = inputs.chain(retries).map(|topic| topic.partitions);
        let config = [
            ("cleanup.policy", "delete"),
            ("retention.ms", JOURNAL_RETENTION_MS),
        ];
        Some(Topic {
            name: self.journal_topic(),
            partitions: read.max().unwrap_or(DEFAULT_PARTITIONS),
            config: owned(config),
        })
    }
}

/// The input topics. One without a name represents those that could not be read.
fn read_input(section: &mut SectionReader<'_>) -> Vec<String> {
    let mut input = section.texts(&sink::INPUT);
    if input.is_empty() {
        input.push(String::new());
    }
    input
}

fn owned<const N: usize>(config: [(&str, &str); N]) -> BTreeMap<String, String> {
    let owned = config.map(|(name, value)| (name.to_owned(), value.to_owned()));
    owned.into()
}

// === impl SinkKind ===

impl SinkKind {
    /// Reads the keys of one kind. The words are those of `keys::app_toml::sink::KIND`.
    fn read(word: &str, section: &mut SectionReader<'_>) -> Option<Self> {
        Some(match word {
            sink::SHEETS => Self::Sheets(Sheets::read(section)),
            sink::POSTGRES => Self::Postgres(Postgres::read(section)),
            sink::EMAIL => Self::Email(Email::read(section)),
            sink::WEBHOOK => Self::Webhook(Webhook::read(section)),
            _ => return None,
        })
    }

    /// What no other sink may write to, in words. Sinks may share a PostgreSQL schema.
    fn targets(&self) -> Vec<String> {
        match self {
            Self::Sheets(sheets) => sheets.targets(),
            Self::Postgres(_) | Self::Email(_) | Self::Webhook(_) => Vec::new(),
        }
    }

    /// Whether it records what it does, because its effect cannot be checked at the destination.
    fn has_journal(&self) -> bool {
        match self {
            Self::Email(_) | Self::Webhook(_) => true,
            Self::Sheets(_) | Self::Postgres(_) => false,
        }
    }

    /// The delay after each failed attempt; empty if it makes all attempts in place.
    pub fn schedule(&self) -> Vec<Duration> {
        match self {
            Self::Email(email) => email.schedule.clone(),
            Self::Webhook(webhook) => webhook.schedule.clone(),
            Self::Sheets(_) | Self::Postgres(_) => Vec::new(),
        }
    }

    /// Whether it may read the topic of a form, which may contain a submission twice. PostgreSQL
    /// itself detects ids that it already has.
    fn deduplicates(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}
