//! `formline trace ID`: finds a submission, and the records that were derived from it, in every
//! topic of the apps.

mod search;

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use anyhow::{Result, bail};
use formline_core::{
    App, Client, EventId, Record,
    dead_letter::index::ClosedReason,
    event::{self, dedup::WINDOW, header},
    kafka::group_progress::{GroupProgress, Stage as Group},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::search::{RecordKind, TracedRecord, search};
use super::sink;
use crate::{arguments::TraceArgs, installation::load_without_plugins, terminal};

/// Maximum clock difference between the machine that created the id and the one that stores
/// records.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

pub(super) fn run(arguments: &TraceArgs) -> Result<()> {
    let (client, apps) = load_without_plugins(&arguments.folders, &arguments.kafka)?;
    let since = since(arguments)?;
    let found = search(&client, &apps, &arguments.id, since)?;
    if found.is_empty() {
        let since = event::format_time(since);
        bail!("{} is in no topic of the apps since {since}", arguments.id);
    }
    let sinks = sinks(&client, &apps, &found)?;
    terminal::unless_closed(if arguments.output.json {
        print_json(&arguments.id, &found, &sinks)
    } else {
        print(&found, &sinks)
    })
}

/// Where the search starts: at `--since`, or at the time in the id. An id of a keyed submission
/// contains no time; it is at most as old as the window within which the key is known.
fn since(arguments: &TraceArgs) -> Result<Timestamp> {
    if let Some(since) = arguments.since.since {
        return Ok(since.0);
    }
    let id = arguments.id.parse::<EventId>().ok();
    Ok(match id.and_then(|id| id.time()) {
        Some(time) => time.checked_sub(CLOCK_SKEW)?,
        None => Timestamp::now().checked_sub(WINDOW)?,
    })
}

/// Each sink that reads a topic with the submission, and whether its group has committed the
/// offsets of all its records.
fn sinks(
    client: &Client,
    apps: &[Arc<App>],
    found: &[TracedRecord],
) -> Result<Vec<(String, bool)>> {
    let mut sinks = Vec::new();
    for (app, sink) in sink::all(apps) {
        let read = found.iter().filter(|one| {
            let topic = &*one.record.partition.topic;
            sink.topics().iter().any(|read| read == topic)
        });
        let ends: Vec<_> = read
            .map(|one| {
                let at = &one.record.partition;
                (at.topic.to_string(), at.number, one.record.offset + 1)
            })
            .collect();
        if ends.is_empty() {
            continue;
        }
        let group = Group {
            group: sink.group(),
            topics: sink.topics(),
        };
        let has_passed = GroupProgress::open(client, vec![group])?.has_passed(0, &ends)?;
        sinks.push((format!("{}/{}", app.name, sink.name), has_passed));
    }
    Ok(sinks)
}

fn print(found: &[TracedRecord], sinks: &[(String, bool)]) -> Result<()> {
    let mut out = io::stdout().lock();
    for one in found {
        let (time, kind, record) = (time(&one.record), one.kind.name(), &one.record);
        let line = format!("{time}  {kind:<11}  {record:?}  {}", about(one));
        writeln!(out, "{}", terminal::plain(line.trim_end()))?;
    }
    for (sink, has_passed) in sinks {
        let state = if *has_passed {
            "has passed it"
        } else {
            "has not passed it yet"
        };
        writeln!(out, "{sink} {state}")?;
    }
    Ok(())
}

fn print_json(id: &str, found: &[TracedRecord], sinks: &[(String, bool)]) -> Result<()> {
    let records = found.iter().map(|one| {
        let record = &one.record;
        json!({
            "time": time(record),
            "stage": one.kind.name(),
            "topic": &*record.partition.topic,
            "partition": record.partition.number,
            "offset": record.offset,
            "id": record.text_header(header::ID),
            "about": about(one),
            "settled": one.closed.as_ref().map(resolution),
        })
    });
    let sinks = sinks
        .iter()
        .map(|(sink, has_passed)| json!({ "sink": sink, "passed": has_passed }));
    let trace = json!({
        "id": id,
        "records": records.collect::<Value>(),
        "sinks": sinks.collect::<Value>(),
    });
    Ok(writeln!(io::stdout(), "{trace}")?)
}

fn time(record: &Record) -> String {
    let time = Timestamp::from_millisecond(record.timestamp_ms);
    event::format_time(time.unwrap_or_default())
}

/// How a dead letter was resolved.
fn resolution(closed: &ClosedReason) -> Value {
    match closed {
        ClosedReason::Resolved(settled) => json!({
            "how": settled.resolution.to_string(),
            "time": event::format_time(settled.time),
        }),
        ClosedReason::Duplicate => json!({ "how": "repeated", "time": null }),
    }
}

/// A description of the record, depending on its kind.
fn about(one: &TracedRecord) -> String {
    let text = |name| one.record.text_header(name).map(str::to_owned);
    let replay = || text(header::REPLAY_FOR).map(|group| format!("replayed for {group}"));
    match one.kind {
        RecordKind::State => state_change(&one.record),
        RecordKind::Retry => {
            let retry = as_json(one.record.header(header::RETRY));
            let time = Timestamp::from_millisecond(retry["due"].as_i64().unwrap_or_default());
            let time = event::format_time(time.unwrap_or_default());
            format!("attempt {} is due {time}", retry["attempt"])
        }
        RecordKind::Journal => {
            let entry = as_json(one.record.value());
            let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let detail = field("detail");
            let colon = if detail.is_empty() { "" } else { ": " };
            format!(
                "{}, attempt {}{colon}{detail}",
                field("outcome"),
                entry["attempt"]
            )
        }
        RecordKind::DeadLetter => {
            let reason = text("dead-letter-reason").unwrap_or_default();
            match &one.closed {
                Some(closed) => format!("{reason}, {closed}"),
                None => reason,
            }
        }
        RecordKind::Form | RecordKind::Output => {
            replay().or_else(|| text(header::TYPE)).unwrap_or_default()
        }
    }
}

/// The parsed text, or null if it is not JSON.
fn as_json(text: Option<&[u8]>) -> Value {
    text.and_then(|text| serde_json::from_slice(text).ok())
        .unwrap_or_default()
}

/// The change of a store that a changelog record describes. Its key starts with the length and the
/// name of the store.
fn state_change(record: &Record) -> String {
    let key = record.key().and_then(<[u8]>::split_first);
    let key = key.and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)));
    let Some((store, key)) = key else {
        return "a key without a store".to_owned();
    };
    let [store, key] = [store, key].map(String::from_utf8_lossy);
    let done = if record.value().is_some() {
        "set"
    } else {
        "deleted"
    };
    format!("store {store}: {key} {done}")
}
