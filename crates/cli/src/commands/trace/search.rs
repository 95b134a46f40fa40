//! Finds the records of a submission: what carries its id, what its events have changed in stores, and what became of its
//! dead letters.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Result;
use formline_core::{
    App, Client, Record,
    cause::Cause,
    client,
    event::header,
    ledger::{Closed, DeadLetters, Ledger},
    reader::{From, Reader},
};
use jiff::Timestamp;

/// A record of the submission.
#[derive(Debug)]
pub(super) struct Sighting {
    pub(super) stage: Stage,
    /// How many steps lie before it.
    depth: usize,
    pub(super) record: Record,
    /// The time of the event behind it, in milliseconds since 1970.
    event_ms: i64,
    /// Why it is not open, for a dead letter.
    pub(super) closed: Option<Closed>,
}

/// What a topic holds, in the order in which one thing leads to the other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Stage {
    Form,
    State,
    Output,
    /// What a sink has put off.
    Retry,
    /// What a sink says that it has done.
    Journal,
    DeadLetter,
}

/// A topic that may hold records of the submission.
#[derive(Debug)]
struct Stop {
    stage: Stage,
    depth: usize,
    /// Whose it is, for changelogs and dead letters.
    owner: Option<DeadLetters>,
}

/// All records of a submission since a time, in order.
pub(super) fn search(
    client: &Client,
    apps: &[Arc<App>],
    id: &str,
    since: Timestamp,
) -> Result<Vec<Sighting>> {
    let mut found: Vec<Sighting> = Vec::new();
    let (states, others): (BTreeMap<_, _>, BTreeMap<_, _>) = stops(apps)
        .into_iter()
        .partition(|(_, stop)| stop.stage == Stage::State);
    for (topic, stop) in &others {
        let is_of = |record: &Record| carries(record, id).then_some(record.timestamp_ms);
        let mut records = stop.look(client, topic, since, is_of)?;
        if let Some(owner) = &stop.owner
            && !records.is_empty()
        {
            let ledger = Ledger::read(client, owner.clone())?;
            for one in &mut records {
                one.closed = ledger.closed(one.record.offset).cloned();
            }
        }
        found.extend(records);
    }
    // Behind the others: a change is found by the place of the event that has caused it.
    for (topic, stop) in &states {
        let inputs = stop.owner.iter().flat_map(|owner| &owner.topics);
        let inputs: Vec<&String> = inputs.collect();
        let events: Vec<&Record> = found
            .iter()
            .filter(|one| matches!(one.stage, Stage::Form | Stage::Output))
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
        let changes = stop.look(client, topic, since, |record| {
            time_of_cause(record, &events)
        })?;
        found.extend(changes);
    }
    found.sort_by_key(|one| (one.event_ms, one.depth, one.stage, one.record.offset));
    Ok(found)
}

/// Whether a record is the submission or stems from it.
fn carries(record: &Record, id: &str) -> bool {
    let names = [header::ID, header::ORIGIN];
    names
        .iter()
        .any(|name| record.header(name) == Some(id.as_bytes()))
}

/// The time of the last of the events that have changed a store, if one has.
fn time_of_cause(change: &Record, events: &[&Record]) -> Option<i64> {
    let causes = change.headers().filter(|(name, _)| *name == header::CAUSE);
    let causes = causes.filter_map(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
    let causes: Vec<Cause> = causes.collect();
    let has_caused = |event: &&&Record| {
        let (place, offset) = (&event.partition, event.offset);
        place.number == change.partition.number
            && causes
                .iter()
                .any(|cause| cause.includes(&place.topic, offset))
    };
    let events = events.iter().filter(has_caused);
    events.map(|event| event.timestamp_ms).max()
}

/// Every topic that can hold a submission.
fn stops(apps: &[Arc<App>]) -> BTreeMap<String, Stop> {
    let mut stops = BTreeMap::new();
    let mut add = |topic: String, stage, depth, owner| {
        stops.entry(topic).or_insert(Stop {
            stage,
            depth,
            owner,
        });
    };
    for form in apps.iter().flat_map(|app| &app.forms) {
        add(form.topic.clone(), Stage::Form, 0, None);
    }
    for app in apps {
        let owner = |step: &str, topics: Vec<String>| {
            Some(DeadLetters {
                app: app.name.clone(),
                step: step.to_owned(),
                topics,
            })
        };
        for step in &app.steps {
            let depth = app.upstream(&step.topics()).len() + 1;
            let owner = owner(&step.name, step.topics());
            for topic in step.output.values() {
                add(topic.clone(), Stage::Output, depth, None);
            }
            add(step.state_topic(), Stage::State, depth, owner.clone());
            add(step.dead_letter_topic(), Stage::DeadLetter, depth, owner);
        }
        for sink in &app.sinks {
            let depth = app.upstream(&sink.input).len() + 1;
            let owner = owner(&sink.name, sink.input.clone());
            if let Some(retries) = sink.retries_topic() {
                add(retries, Stage::Retry, depth, None);
            }
            if app.topic(&sink.journal_topic()).is_some() {
                add(sink.journal_topic(), Stage::Journal, depth, None);
            }
            add(sink.dead_letter_topic(), Stage::DeadLetter, depth, owner);
        }
    }
    stops
}

// === impl Stop ===

impl Stop {
    /// Reads the topic to its end, and takes the records for which there is a time of their event. One that is missing
    /// holds nothing: a step without state has no changelog.
    fn look(
        &self,
        client: &Client,
        topic: &str,
        since: Timestamp,
        event_ms: impl Fn(&Record) -> Option<i64>,
    ) -> Result<Vec<Sighting>> {
        let mut found = Vec::new();
        let from = From::Time(since.as_millisecond());
        let mut reader = match Reader::open(client, topic, &[], from) {
            Err(client::Error::NoTopic(_)) => return Ok(found),
            opened => opened?,
        };
        reader.read_to_end(
            || true,
            |record| {
                found.extend(event_ms(&record).map(|event_ms| Sighting {
                    stage: self.stage,
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

// === impl Stage ===

impl Stage {
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
