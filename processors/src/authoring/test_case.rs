//! A test case of a plug-in: it processes events, and returns the results as lines of JSON.
//!
//! The plug-in runs as in a step, with the same savepoints, limits and second attempts, but with
//! one partition and without Kafka.

use std::{collections::VecDeque, sync::Arc};

use formline_core::{Record, app::Step, kafka::record::Partition};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::inspect::Candidate;
use crate::{
    batch::{Batch, BatchLimits, Event, EventOutcome, Finished, Output, Source},
    hot_swap,
    plugin::{Assignment, Failure, Instance},
    state::Stores,
};

/// The input of a test case.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// The step's configuration.
    pub config: Value,
    /// The events in order, each `{"key", "value", "headers", "timestamp", "port"}`. The format is
    /// described in plugins/README.md.
    pub events: Vec<Value>,
}

/// A test case in progress.
struct Run<'a> {
    candidate: &'a Candidate,
    step: Arc<Step>,
    stores: Stores,
    instance: Option<Instance>,
    /// Offset of an event for which the plug-in has failed once.
    suspect: Option<i64>,
    /// The newest timestamp so far, which the plug-in's clock shows.
    now_ms: i64,
    lines: Vec<Value>,
}

const PARTITION: i32 = 0;

// === impl TestCase ===

impl TestCase {
    /// Runs the test case. Each returned line is a record that was sent, an event that was not
    /// accepted, or an entry of a store at the end.
    ///
    /// # Errors
    /// Why the case cannot run: an event is malformed, or the plug-in does not start.
    pub fn run(&self, candidate: &Candidate) -> Result<Vec<Value>, String> {
        let step = Arc::new(candidate.step(self.config.clone()));
        hot_swap::check(&step, &candidate.plugin, None)?;
        let mut run = Run {
            candidate,
            step,
            stores: Stores::in_memory(),
            instance: None,
            suspect: None,
            now_ms: 0,
            lines: Vec::new(),
        };
        let mut events = self.read(candidate)?.into_iter().peekable();
        while let Some((source, first)) = events.next() {
            // As in a step, a batch has one source.
            let mut batch = VecDeque::from([first]);
            while let Some((_, event)) = events.next_if(|(other, _)| other.port == source.port) {
                batch.push_back(event);
            }
            if !run.process(&source, batch)? {
                break;
            }
        }
        run.add_stores();
        Ok(run.lines)
    }

    fn read(&self, candidate: &Candidate) -> Result<Vec<(Source, Event)>, String> {
        let inputs = &candidate.plugin.declared.inputs;
        let events = self.events.iter().zip(0..).map(|(event, offset)| {
            let failed = |problem| format!("event {}: {problem}", offset + 1);
            read_event(event, offset, inputs).map_err(failed)
        });
        events.collect()
    }
}

// === Events ===

const KEYS: [&str; 8] = [
    "port",
    "key",
    "key_hex",
    "value",
    "value_text",
    "value_hex",
    "headers",
    "timestamp",
];

fn read_event(event: &Value, offset: i64, inputs: &[String]) -> Result<(Source, Event), String> {
    let event = event.as_object().ok_or("it is not a JSON object")?;
    if let Some(unknown) = event.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!(
            "unknown key `{unknown}`; the known keys are {}",
            KEYS.join(", ")
        ));
    }
    let first = inputs.first().map(String::as_str);
    let port = event.get("port").map_or(first, Value::as_str);
    let port = port.filter(|port| inputs.iter().any(|input| input == port));
    let port = port.ok_or_else(|| format!("its port is not one of {}", inputs.join(", ")))?;
    let timestamp = event.get("timestamp").map_or(Some(0), Value::as_i64);
    let timestamp = timestamp.filter(|time| *time >= 0);
    let timestamp = timestamp.ok_or("its timestamp is not a number of milliseconds since 1970")?;
    let (key, value) = (content(event, "key")?, content(event, "value")?);
    let headers = headers(event)?;
    let source = Source {
        partition: Partition {
            topic: port.into(),
            number: PARTITION,
        },
        port: port.into(),
    };
    let record = Record::new(
        source.partition.clone(),
        offset,
        timestamp,
        key.as_deref(),
        value.as_deref(),
        &headers,
    );
    Ok((source, Event::first_attempt(record)))
}

fn headers(event: &Map<String, Value>) -> Result<Vec<(&str, &[u8])>, String> {
    let Some(headers) = event.get("headers") else {
        return Ok(Vec::new());
    };
    let headers = headers.as_object().ok_or("its headers are not an object")?;
    let texts = headers.iter().map(|(name, value)| match value.as_str() {
        Some(text) => Ok((name.as_str(), text.as_bytes())),
        None => Err(format!("its header {name} is not a string")),
    });
    texts.collect()
}

/// The bytes of a key (text) or a value (JSON); with the suffix `_text` or `_hex` of other content.
fn content(event: &Map<String, Value>, name: &str) -> Result<Option<Vec<u8>>, String> {
    let text = |name: &str| {
        event
            .get(name)
            .map(|value| value.as_str().ok_or(name.to_owned()))
    };
    let wrong = |name| format!("its {name} is not a string");
    if let Some(hex) = text(&format!("{name}_hex")) {
        let bytes = from_hex(hex.map_err(wrong)?);
        return bytes
            .map(Some)
            .ok_or(format!("its {name}_hex is not hexadecimal"));
    }
    let own = if name == "key" { "key" } else { "value_text" };
    if let Some(text) = text(own) {
        return Ok(Some(text.map_err(wrong)?.as_bytes().to_vec()));
    }
    Ok(event.get(name).map(|json| json.to_string().into_bytes()))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let pairs = digits.filter(|digits| digits.len() % 2 == 0)?;
    let bytes = pairs
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).ok());
    bytes.collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// === impl Run ===

impl Run<'_> {
    /// Processes a batch to its end. False if an event is deferred, which ends the test case.
    fn process(&mut self, source: &Source, mut events: VecDeque<Event>) -> Result<bool, String> {
        let times = events.iter().map(|event| event.record.timestamp_ms);
        self.now_ms = times.fold(self.now_ms, i64::max);
        while !events.is_empty() {
            // As in a step, the events before a suspect come first, and the suspect alone.
            let suspect = self.suspect;
            let position = events
                .iter()
                .position(|event| Some(event.record.offset) == suspect);
            let count = position.map_or(events.len(), |position| position.max(1));
            let batch: Vec<_> = events.drain(..count).collect();
            let limits = BatchLimits::new(self.step.limits.batch);
            let batch = Batch::new(source.clone(), batch, limits);
            let (mut instance, savepoint) = (self.instance()?, self.stores.savepoint());
            let now =
                Timestamp::from_millisecond(self.now_ms).map_err(|error| error.to_string())?;
            let each_event = self.step.limits.event;
            let (batch, result) = instance.process_at(now, batch, &mut self.stores, each_event);
            let left = match result {
                Ok(()) => {
                    self.instance = Some(instance);
                    let (finished, left, retry) = batch.finish();
                    finished.iter().for_each(|finished| self.add(finished));
                    if let (Some(after), Some(event)) = (retry, left.first()) {
                        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                        self.lines.push(json!({
                            "event": number(event), "retry_later_ms": after,
                        }));
                        return Ok(false);
                    }
                    left
                }
                Err(failure) => {
                    self.stores.roll_back(savepoint);
                    self.fail(batch, &failure)?
                }
            };
            left.into_iter()
                .rev()
                .for_each(|event| events.push_front(event));
        }
        Ok(true)
    }

    fn instance(&mut self) -> Result<Instance, String> {
        if let Some(instance) = self.instance.take() {
            return Ok(instance);
        }
        let assignment = Assignment {
            step: &self.step,
            partition: PARTITION,
        };
        let started = Instance::start(&self.candidate.plugin, assignment, &mut self.stores);
        started.map_err(|failure| format!("it does not start: {failure}"))
    }

    /// The events of a failed batch, without an event that has failed for the second time.
    fn fail(&mut self, batch: Batch, failure: &Failure) -> Result<Vec<Event>, String> {
        let (mut events, last) = batch.abort();
        let index = last.ok_or_else(|| failure.to_string())?;
        let offset = events[index].record.offset;
        if self.suspect.take() == Some(offset) {
            let event = events.remove(index);
            self.lines.push(json!({
                "event": number(&event), "dead_letter": failure.reason,
            }));
        } else {
            self.suspect = Some(offset);
        }
        Ok(events)
    }

    fn add(&mut self, finished: &Finished) {
        for (index, (event, outcome)) in finished.events.iter().enumerate() {
            let sent = finished.outputs.iter().filter(|sent| sent.event == index);
            let sent = sent.map(|sent| self.line_of(event, sent));
            let sent: Vec<_> = sent.collect();
            self.lines.extend(sent);
            let number = number(event);
            self.lines.extend(match outcome {
                EventOutcome::Accepted | EventOutcome::Duplicate => None,
                EventOutcome::Skipped => Some(json!({ "event": number, "skipped": true })),
                EventOutcome::DeadLettered(reason) => {
                    Some(json!({ "event": number, "dead_letter": reason.code }))
                }
            });
        }
    }

    /// A record as it would be published.
    fn line_of(&self, event: &Event, sent: &Output) -> Value {
        let port = &self.candidate.plugin.declared.outputs[sent.port];
        let mut line = Map::new();
        line.insert("event".to_owned(), number(event).into());
        line.insert("sent".to_owned(), port.as_str().into());
        if let Some(key) = sent.key.as_deref().or(event.record.key()) {
            add_key(&mut line, key);
        }
        add_value(&mut line, &sent.value);
        if !sent.headers.is_empty() {
            let headers = sent.headers.iter();
            let headers: Map<_, _> = headers
                .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into()))
                .collect();
            line.insert("headers".to_owned(), headers.into());
        }
        if let Some(timestamp) = sent.timestamp_ms {
            line.insert("timestamp".to_owned(), timestamp.into());
        }
        line.into()
    }

    fn add_stores(&mut self) {
        for store in &self.candidate.plugin.declared.stores {
            let entries = self.stores.scan(&store.name, b"", None, |_| true);
            for (key, entry) in entries.expect("stores in memory do not fail") {
                let mut line = Map::new();
                line.insert("store".to_owned(), store.name.as_str().into());
                add_key(&mut line, &key);
                add_value(&mut line, &entry.value);
                self.lines.push(line.into());
            }
        }
    }
}

/// The event's number in the test case, from 1.
fn number(event: &Event) -> i64 {
    event.record.offset + 1
}

fn add_key(line: &mut Map<String, Value>, key: &[u8]) {
    match std::str::from_utf8(key) {
        Ok(text) => line.insert("key".to_owned(), text.into()),
        Err(_) => line.insert("key_hex".to_owned(), to_hex(key).into()),
    };
}

fn add_value(line: &mut Map<String, Value>, value: &[u8]) {
    match (
        serde_json::from_slice::<Value>(value),
        std::str::from_utf8(value),
    ) {
        (Ok(json), _) => line.insert("value".to_owned(), json),
        (_, Ok(text)) => line.insert("value_text".to_owned(), text.into()),
        (_, Err(_)) => line.insert("value_hex".to_owned(), to_hex(value).into()),
    };
}
