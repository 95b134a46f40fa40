//! `formline trace ID`: finds a submission, and what was made of it, in every topic of the apps.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    sync::Arc,
};

use anyhow::{Result, bail};
use formline_core::{
    App, Client, EventId, Record, client,
    duplicates::WINDOW,
    event::{self, header},
    progress::{Progress, Stage},
    reader::{From, Reader},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{load_without_plugins, sink, text};
use crate::arguments::Trace;

/// A topic that may hold the submission.
#[derive(Clone, Copy, Debug)]
struct Stop {
    /// What lies in it: `form`, `output`, `state`, `dead letter`.
    stage: &'static str,
    /// How many steps lie before it.
    depth: usize,
}

/// A record of the submission.
#[derive(Debug)]
struct Sighting {
    stop: Stop,
    record: Record,
}

/// Clocks of the machines that give ids and times may differ by so much.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

pub(super) fn run(arguments: &Trace) -> Result<()> {
    let (client, apps) = load_without_plugins(&arguments.folders, &arguments.kafka)?;
    let since = since(arguments)?;
    let mut found = Vec::new();
    for (topic, stop) in stops(&apps) {
        look(&client, &topic, stop, since, &arguments.id, &mut found)?;
    }
    if found.is_empty() {
        let since = event::format_time(since);
        bail!("{} is in no topic of the apps since {since}", arguments.id);
    }
    // Outputs have their input's time, unless the plug-in says otherwise.
    found.sort_by_key(|one| (one.record.timestamp_ms, one.stop.depth, one.record.offset));
    let sinks = sinks(&client, &apps, &found)?;
    text::unless_closed(if arguments.output.json {
        print_json(&arguments.id, &found, &sinks)
    } else {
        print(&found, &sinks)
    })
}

fn since(arguments: &Trace) -> Result<Timestamp> {
    if let Some(since) = arguments.since.since {
        return Ok(since.0);
    }
    let id = arguments.id.parse::<EventId>().ok();
    Ok(match id.and_then(|id| id.time()) {
        Some(time) => time.checked_sub(CLOCKS)?,
        None => Timestamp::now().checked_sub(WINDOW)?,
    })
}

/// Every topic that can hold a submission.
fn stops(apps: &[Arc<App>]) -> BTreeMap<String, Stop> {
    let mut stops = BTreeMap::new();
    let mut add = |topic: String, stage, depth| {
        stops.entry(topic).or_insert(Stop { stage, depth });
    };
    for form in apps.iter().flat_map(|app| &app.forms) {
        add(form.topic.clone(), "form", 0);
    }
    for app in apps {
        for step in &app.steps {
            let depth = app.upstream(&step.topics()).len() + 1;
            for topic in step.output.values() {
                add(topic.clone(), "output", depth);
            }
            add(step.state_topic(), "state", depth);
            add(step.dead_letter_topic(), "dead letter", depth);
        }
        for sink in &app.sinks {
            let depth = app.upstream(&sink.input).len() + 1;
            add(sink.dead_letter_topic(), "dead letter", depth);
        }
    }
    stops
}

/// Reads a topic to its end. One that is missing holds nothing: a step without state has no changelog.
fn look(
    client: &Client,
    topic: &str,
    stop: Stop,
    since: Timestamp,
    id: &str,
    found: &mut Vec<Sighting>,
) -> Result<()> {
    let from = From::Time(since.as_millisecond());
    let mut reader = match Reader::open(client, topic, &[], from) {
        Err(client::Error::NoTopic(_)) => return Ok(()),
        opened => opened?,
    };
    reader.read_to_end(
        || true,
        |record| {
            if is_of(&record, stop, id) {
                found.push(Sighting { stop, record });
            }
        },
    )?;
    Ok(())
}

/// Whether a record is the submission or stems from it. A changelog has no headers; it may name the id in its text.
fn is_of(record: &Record, stop: Stop, id: &str) -> bool {
    let names = [header::ID, header::ORIGIN];
    // `windows` cannot be of no length.
    let says = |bytes: &[u8]| {
        bytes
            .windows(id.len().max(1))
            .any(|part| part == id.as_bytes())
    };
    names
        .iter()
        .any(|name| record.header(name) == Some(id.as_bytes()))
        || (stop.stage == "state"
            && [record.key(), record.value()]
                .into_iter()
                .flatten()
                .any(says))
}

/// Each sink that reads a topic with the submission, and whether its group has committed everything of it.
fn sinks(client: &Client, apps: &[Arc<App>], found: &[Sighting]) -> Result<Vec<(String, bool)>> {
    let mut sinks = Vec::new();
    for (app, sink) in sink::all(apps) {
        let read = found.iter().filter(|one| {
            let topic = &*one.record.partition.topic;
            sink.input.iter().any(|input| input == topic)
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
        let stage = Stage {
            group: sink.group(),
            topics: sink.input.clone(),
        };
        let has_passed = Progress::open(client, vec![stage])?.has_passed(0, &ends)?;
        sinks.push((format!("{}/{}", app.name, sink.name), has_passed));
    }
    Ok(sinks)
}

// === Printing ===

fn print(found: &[Sighting], sinks: &[(String, bool)]) -> Result<()> {
    let mut out = io::stdout().lock();
    for Sighting { stop, record } in found {
        let time = time(record);
        let line = format!("{time}  {:<11}  {record:?}  {}", stop.stage, about(record));
        writeln!(out, "{}", text::plain(line.trim_end()))?;
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

fn print_json(id: &str, found: &[Sighting], sinks: &[(String, bool)]) -> Result<()> {
    let records = found.iter().map(|Sighting { stop, record }| {
        json!({
            "time": time(record),
            "stage": stop.stage,
            "topic": &*record.partition.topic,
            "partition": record.partition.number,
            "offset": record.offset,
            "id": record.text_header(header::ID),
            "about": about(record),
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

/// Why it was parked, for whom it is replayed, or what kind of event it is.
fn about(record: &Record) -> String {
    let text = |name| record.text_header(name);
    let reason = text("dead-letter-reason");
    let replay = text(header::REPLAY_FOR).map(|group| format!("replayed for {group}"));
    reason
        .map(str::to_owned)
        .or(replay)
        .or_else(|| text(header::TYPE).map(str::to_owned))
        .unwrap_or_default()
}
