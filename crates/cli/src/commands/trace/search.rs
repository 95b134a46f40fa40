//! Finds the records of a submission: those that carry its id, the state changes that they caused,
//! and the resolutions of its dead letters.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Result;
use formline_core::{
    App, Client, Record,
    dead_letter::{
        index::{ClosedReason, DeadLetterIndex},
        letter::DeadLetterOwner,
    },
    event::{header, provenance::Provenance},
    kafka::{
        client::ClientError,
        reader::{Reader, StartOffset},
    },
};
use jiff::Timestamp;

/// A record of the submission.
#[derive(Debug)]
pub(super) struct TracedRecord {
    pub(super) kind: RecordKind,
    /// Number of steps before it.
    depth: usize,
    pub(super) record: Record,
    /// Time of the event that it was derived from, in milliseconds since 1970.
    event_ms: i64,
    /// The resolution of a dead letter; none if it is open.
    pub(super) closed: Option<ClosedReason>,
}

/// What the records of a topic are, in causal order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum RecordKind {
    Form,
    State,
    Output,
    /// A record that a sink has deferred.
    Retry,
    /// A result that a sink has recorded.
    Journal,
    DeadLetter,
}

/// A topic that may contain records of the submission.
#[derive(Debug)]
struct SearchedTopic {
    kind: RecordKind,
    depth: usize,
    /// The step or sink that writes it, for changelogs and dead letters.
    owner: Option<DeadLetterOwner>,
}

/// All records of a submission since a time, in causal order.
pub(super) fn search(
    client: &Client,
    apps: &[Arc<App>],
    id: &str,
    since: Timestamp,
) -> Result<Vec<TracedRecord>> {
    let mut found: Vec<TracedRecord> = Vec::new();
    let (states, others): (BTreeMap<_, _>, BTreeMap<_, _>) = topics(apps)
        .into_iter()
        .partition(|(_, topic)| topic.kind == RecordKind::State);
    for (name, topic) in &others {
        let time_of = |record: &Record| carries(record, id).then_some(record.timestamp_ms);
        let mut records = topic.read(client, name, since, time_of)?;
        if let Some(owner) = &topic.owner
            && !records.is_empty()
        {
            let index = DeadLetterIndex::read(client, owner.clone())?;
            for one in &mut records {
                one.closed = index.closed(one.record.offset).cloned();
            }
        }
        found.extend(records);
    }
    // Last, because a state change refers to the positions of the events that caused it.
    for (name, topic) in &states {
        let inputs = topic.owner.iter().flat_map(|owner| &owner.topics);
        let inputs: Vec<&String> = inputs.collect();
        let events: Vec<&Record> = found
            .iter()
            .filter(|one| matches!(one.kind, RecordKind::Form | RecordKind::Output))
            .map(|one| &one.record)
            .filter(|record| {
                inputs
                    .iter()
                    .any(|topic| ***topic == *record.partition.topic)
            })
            .collect();
        if events.is_empty() {
            continue;
        }
        let time_of = |record: &Record| time_of_cause(record, &events);
        found.extend(topic.read(client, name, since, time_of)?);
    }
    found.sort_by_key(|one| (one.event_ms, one.depth, one.kind, one.record.offset));
    Ok(found)
}

/// Whether a record is the submission or was derived from it.
fn carries(record: &Record, id: &str) -> bool {
    let names = [header::ID, header::ORIGIN];
    names
        .iter()
        .any(|name| record.header(name) == Some(id.as_bytes()))
}

/// The time of the latest of the events that caused a state change, if one of them did.
fn time_of_cause(change: &Record, events: &[&Record]) -> Option<i64> {
    let causes = change
        .headers()
        .filter(|(name, _)| *name == header::PROVENANCE);
    let causes = causes.filter_map(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
    let causes: Vec<Provenance> = causes.collect();
    let is_cause = |event: &&&Record| {
        let (partition, offset) = (&event.partition, event.offset);
        partition.number == change.partition.number
            && causes
                .iter()
                .any(|cause| cause.includes(&partition.topic, offset))
    };
    let events = events.iter().filter(is_cause);
    events.map(|event| event.timestamp_ms).max()
}

/// Every topic that may contain a record of a submission, by name.
fn topics(apps: &[Arc<App>]) -> BTreeMap<String, SearchedTopic> {
    let mut topics = BTreeMap::new();
    let mut add = |topic: String, kind, depth, owner| {
        topics
            .entry(topic)
            .or_insert(SearchedTopic { kind, depth, owner });
    };
    for form in apps.iter().flat_map(|app| &app.forms) {
        add(form.topic.clone(), RecordKind::Form, 0, None);
    }
    for app in apps {
        let owner = |step: &str, topics: Vec<String>| {
            Some(DeadLetterOwner {
                app: app.name.clone(),
                step: step.to_owned(),
                topics,
            })
        };
        for step in &app.steps {
            let depth = app.upstream(&step.topics()).len() + 1;
            let owner = owner(&step.name, step.topics());
            for topic in step.output.values() {
                add(topic.clone(), RecordKind::Output, depth, None);
            }
            add(step.state_topic(), RecordKind::State, depth, owner.clone());
            let dead_letters = step.dead_letter_topic();
            add(dead_letters, RecordKind::DeadLetter, depth, owner);
        }
        for sink in &app.sinks {
            let depth = app.upstream(&sink.input).len() + 1;
            let owner = owner(&sink.name, sink.input.clone());
            if let Some(retries) = sink.retries_topic() {
                add(retries, RecordKind::Retry, depth, None);
            }
            if app.topic(&sink.journal_topic()).is_some() {
                add(sink.journal_topic(), RecordKind::Journal, depth, None);
            }
            let dead_letters = sink.dead_letter_topic();
            add(dead_letters, RecordKind::DeadLetter, depth, owner);
        }
    }
    topics
}

// === impl SearchedTopic ===

impl SearchedTopic {
    /// Reads the topic to its end, and returns the records for which `event_ms` returns the time of
    /// their event. A missing topic contains none: a step without state has no changelog.
    fn read(
        &self,
        client: &Client,
        topic: &str,
        since: Timestamp,
        event_ms: impl Fn(&Record) -> Option<i64>,
    ) -> Result<Vec<TracedRecord>> {
        let mut found = Vec::new();
        let from = StartOffset::Timestamp(since.as_millisecond());
        let mut reader = match Reader::open(client, topic, &[], from) {
            Err(ClientError::NoTopic(_)) => return Ok(found),
            opened => opened?,
        };
        reader.read_to_end(
            || true,
            |record| {
                found.extend(event_ms(&record).map(|event_ms| TracedRecord {
                    kind: self.kind,
                    depth: self.depth,
                    record,
                    event_ms,
                    closed: None,
                }));
            },
        )?;
        Ok(found)
    }
}

// === impl RecordKind ===

impl RecordKind {
    /// The name in text and JSON output.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::State => "state",
            Self::Output => "output",
            Self::Retry => "retry",
            Self::Journal => "journal",
            Self::DeadLetter => "dead letter",
        }
    }
}
