//! `formline dlq show`: prints one dead letter with its record.

use std::io::{self, Write as _};

use anyhow::{Result, anyhow};
use formline_core::{
    dead_letter::{index::DeadLetterIndex, letter::DeadLetter},
    event,
};
use serde_json::{Value, json};

use super::{format::as_json, selection::source_of};
use crate::{arguments::DlqShowArgs, installation::load_without_plugins, terminal};

pub(super) fn run(arguments: &DlqShowArgs) -> Result<()> {
    let (client, apps) = load_without_plugins(&arguments.folders, &arguments.kafka)?;
    let id = &arguments.letter;
    let index = DeadLetterIndex::read(&client, source_of(&apps, id)?)?;
    let letter = index.find(&client, id.offset)?;
    let letter = letter.ok_or_else(|| anyhow!("there is no dead letter {id}"))?;
    let closed = index.closed(id.offset).map(ToString::to_string);
    let mut out = io::stdout().lock();
    if !arguments.output.json {
        let text = as_text(&letter, closed);
        return Ok(write!(out, "{}", terminal::plain(&text))?);
    }
    let mut object = as_json(&letter);
    object["state"] = closed.unwrap_or_else(|| "open".to_owned()).into();
    object["key"] = json!(letter.key().map(String::from_utf8_lossy));
    object["headers"] = terminal::headers(letter.headers());
    object["value"] = terminal::value(letter.value());
    Ok(writeln!(out, "{object}")?)
}

fn as_text(letter: &DeadLetter, closed: Option<String>) -> String {
    let key = letter.key().map_or("-".into(), String::from_utf8_lossy);
    let properties = [
        ("letter", letter.id.to_string()),
        ("state", closed.unwrap_or_else(|| "open".to_owned())),
        ("time", event::format_time(letter.time)),
        ("reason", letter.reason().to_owned()),
        ("attempts", letter.attempts().to_string()),
        ("plug-in", letter.plugin().unwrap_or("-").to_owned()),
        ("record", letter.position.to_string()),
        ("key", key.into_owned()),
    ];
    let properties = properties.map(|(name, value)| format!("{name:<9} {value}\n"));
    let headers = letter.headers().map(|(name, value)| {
        let value = String::from_utf8_lossy(value);
        format!("  {name}: {value}\n")
    });
    let value = match terminal::value(letter.value()) {
        Value::String(text) => text,
        json => format!("{json:#}"),
    };
    let (properties, headers) = (properties.concat(), headers.collect::<String>());
    format!(
        "{properties}detail\n{}headers\n{headers}value\n{}",
        indented(letter.detail()),
        indented(&value)
    )
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
