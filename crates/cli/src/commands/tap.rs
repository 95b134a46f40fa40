//! `formline tap TOPIC`: follows the records of a topic. Reads outside of any group, so it disturbs nobody.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::Result;
use formline_core::{
    Record,
    event::{self, header},
    reader::{From, Reader},
};
use serde_json::{Value, json};

use super::{load_settings, text};
use crate::arguments::Tap;

pub(super) fn run(arguments: &Tap) -> Result<()> {
    let client = load_settings(&arguments.kafka)?.client();
    let from = if arguments.from_beginning {
        From::Beginning
    } else {
        From::End
    };
    let mut reader = Reader::open(&client, &arguments.topic, &[], from)?;
    let mut left = arguments.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(record) = reader.next(Duration::from_millis(200))? else {
            continue;
        };
        if !is_wanted(&record, arguments) {
            continue;
        }
        match print(&record, arguments) {
            // Whoever read the output, such as `head`, has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
        left -= 1;
    }
    Ok(())
}

fn is_wanted(record: &Record, arguments: &Tap) -> bool {
    let form = arguments.form.as_deref();
    let id = arguments.id.as_deref();
    let ids = || [header::ID, header::ORIGIN].map(|name| record.text_header(name));
    form.is_none_or(|form| event::form(record) == Some(form))
        && id.is_none_or(|id| ids().contains(&Some(id)))
}

fn print(record: &Record, arguments: &Tap) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if arguments.output.json {
        writeln!(out, "{}", as_json(record))?;
        return out.flush();
    }
    let key = record.key().map_or("-".into(), text::plain_bytes);
    writeln!(
        out,
        "{} {record:?} key {key}",
        event::format_time(event::time(record))
    )?;
    if arguments.headers {
        for (name, value) in record.headers() {
            writeln!(out, "  {}: {}", text::plain(name), text::plain_bytes(value))?;
        }
    }
    let value = match text::value(record.value()) {
        Value::String(text) => text,
        json => json.to_string(),
    };
    writeln!(out, "  {}", text::plain(&value))?;
    out.flush()
}

fn as_json(record: &Record) -> Value {
    json!({
        "topic": &*record.partition.topic,
        "partition": record.partition.number,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "key": record.key().map(String::from_utf8_lossy),
        "headers": text::headers(record.headers()),
        "value": text::value(record.value()),
    })
}
