//! `formline dlq show`: one dead letter with its record.

use std::io::{self, Write as _};

use anyhow::{Result, anyhow};
use formline_core::{event, ledger::Ledger, letter::Letter};
use serde_json::{Value, json};

use super::{as_json, load_without_plugins, of_letter};
use crate::{arguments::DlqShow, commands::text};

pub(super) fn run(arguments: &DlqShow) -> Result<()> {
    let (client, apps) = load_without_plugins(&arguments.folders, &arguments.kafka)?;
    let id = &arguments.letter;
    let ledger = Ledger::read(&client, of_letter(&apps, id)?)?;
    let letter = ledger.find(&client, id.offset)?;
    let letter = letter.ok_or_else(|| anyhow!("there is no dead letter {id}"))?;
    let closed = ledger.closed(id.offset).map(ToString::to_string);
    let mut out = io::stdout().lock();
    if !arguments.output.json {
        return Ok(write!(out, "{}", text::plain(&in_full(&letter, closed)))?);
    }
    let mut object = as_json(&letter);
    object["state"] = closed.unwrap_or_else(|| "open".to_owned()).into();
    object["key"] = json!(letter.key().map(String::from_utf8_lossy));
    object["headers"] = text::headers(letter.headers());
    object["value"] = text::value(letter.value());
    Ok(writeln!(out, "{object}")?)
}

fn in_full(letter: &Letter, closed: Option<String>) -> String {
    let key = letter.key().map_or("-".into(), String::from_utf8_lossy);
    let facts = [
        ("letter", letter.id.to_string()),
        ("state", closed.unwrap_or_else(|| "open".to_owned())),
        ("time", event::format_time(letter.time)),
        ("reason", letter.reason().to_owned()),
        ("attempts", letter.attempts().to_string()),
        ("plug-in", letter.plugin().unwrap_or("-").to_owned()),
        ("record", letter.place.to_string()),
        ("key", key.into_owned()),
    ];
    let facts = facts.map(|(name, fact)| format!("{name:<9} {fact}\n"));
    let headers = letter.headers().map(|(name, value)| {
        let value = String::from_utf8_lossy(value);
        format!("  {name}: {value}\n")
    });
    let value = match text::value(letter.value()) {
        Value::String(text) => text,
        json => format!("{json:#}"),
    };
    let (facts, headers) = (facts.concat(), headers.collect::<String>());
    format!(
        "{facts}detail\n{}headers\n{headers}value\n{}",
        indented(letter.detail()),
        indented(&value)
    )
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
