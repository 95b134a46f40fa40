//! `formline tap TOPIC…`: prints the records of topics. Reads outside of any consumer group.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::Result;
use formline_core::{
    Record,
    event::{self, header},
    kafka::reader::{Reader, StartOffset},
};
use serde_json::{Value, json};

use crate::{
    arguments::{HeaderFilter, TapArgs},
    installation::load_settings,
    terminal,
    time_arg::TimeArg,
};

/// Maximum wait for a record of one topic before the next topic is read.
const POLL: Duration = Duration::from_millis(50);

pub(super) fn run(arguments: &TapArgs) -> Result<()> {
    let client = load_settings(&arguments.kafka)?.client();
    let from = match arguments.since.since {
        Some(TimeArg(time)) => StartOffset::Timestamp(time.as_millisecond()),
        None if arguments.from_beginning => StartOffset::Beginning,
        None => StartOffset::End,
    };
    let open = |topic: &String| Reader::open(&client, topic, &[], from);
    let readers = arguments.topics.iter().map(open);
    terminal::unless_closed(follow(readers.collect::<Result<_, _>>()?, arguments))
}

/// Prints matching records until the requested number is reached.
fn follow(mut readers: Vec<Reader>, arguments: &TapArgs) -> Result<()> {
    let mut left = arguments.count.unwrap_or(u64::MAX);
    loop {
        for reader in &mut readers {
            if left == 0 {
                return Ok(());
            }
            if let Some(record) = reader.next(POLL)?
                && matches(&record, arguments)
            {
                print(&record, arguments)?;
                left -= 1;
            }
        }
    }
}

fn matches(record: &Record, arguments: &TapArgs) -> bool {
    let (form, id) = (arguments.form.as_deref(), arguments.id.as_deref());
    let (key, partition) = (arguments.key.as_deref(), arguments.partition);
    let ids = || [header::ID, header::ORIGIN].map(|name| record.text_header(name));
    form.is_none_or(|form| event::form(record) == Some(form))
        && id.is_none_or(|id| ids().contains(&Some(id)))
        && key.is_none_or(|key| record.key() == Some(key.as_bytes()))
        && partition.is_none_or(|number| record.partition.number == number)
        && arguments
            .with
            .iter()
            .all(|filter| has_header(record, filter))
}

fn has_header(record: &Record, filter: &HeaderFilter) -> bool {
    let value = filter.value.as_deref();
    record.headers().any(|(name, found)| {
        name == filter.name && value.is_none_or(|value| found == value.as_bytes())
    })
}

fn print(record: &Record, arguments: &TapArgs) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let json = |value: &Value, is_pretty: bool| match is_pretty {
        true => format!("{value:#}"),
        false => value.to_string(),
    };
    if arguments.output.json {
        writeln!(out, "{}", json(&as_json(record), arguments.pretty))?;
        return out.flush();
    }
    let key = record.key().map_or("-".into(), terminal::plain_bytes);
    let time = event::format_time(event::time(record));
    writeln!(out, "{time} {record:?} key {key}")?;
    if arguments.headers {
        for (name, value) in record.headers() {
            let (name, value) = (terminal::plain(name), terminal::plain_bytes(value));
            writeln!(out, "  {name}: {value}")?;
        }
    }
    let value = match terminal::value(record.value()) {
        // A tombstone, as opposed to the JSON value `null`.
        Value::Null if record.value().is_none() => "-".to_owned(),
        Value::String(text) => text,
        value => json(&value, arguments.pretty || out.is_terminal()),
    };
    for line in terminal::plain(&value).lines() {
        writeln!(out, "  {line}")?;
    }
    out.flush()
}

fn as_json(record: &Record) -> Value {
    json!({
        "topic": &*record.partition.topic,
        "partition": record.partition.number,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "key": record.key().map(String::from_utf8_lossy),
        "headers": terminal::headers(record.headers()),
        "value": terminal::value(record.value()),
    })
}
