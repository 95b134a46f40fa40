//! `formline dlq list`: how many dead letters there are, or which.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use anyhow::Result;
use formline_core::{
    Client, client, event,
    ledger::{DeadLetters, Ledger},
    letter::Letter,
};
use jiff::Timestamp;
use serde_json::json;

use super::{as_json, as_line, load_without_plugins};
use crate::{arguments::DlqList, commands::text};

/// The open letters of one step or sink. At least one.
struct Summary {
    by_reason: BTreeMap<String, u64>,
    oldest: Timestamp,
    newest: Timestamp,
}

pub(super) fn run(arguments: &DlqList) -> Result<()> {
    let (client, apps) = load_without_plugins(&arguments.folders, &arguments.kafka)?;
    let (filter, json) = (&arguments.filter, arguments.output.json);
    let mut out = io::stdout().lock();
    let mut is_empty = true;
    for letters in filter.chosen(&apps)? {
        let mut summary = None;
        each_open(&client, letters.clone(), |letter| {
            if filter.is_empty() {
                summary = Some(Summary::with(summary.take(), &letter));
            } else if filter.admits(&letter) {
                is_empty = false;
                print(&mut out, &letter, json)?;
            }
            Ok(())
        })?;
        if let Some(summary) = summary {
            is_empty = false;
            summary.print(&mut out, &letters, json)?;
        }
    }
    if is_empty && !json {
        writeln!(out, "no dead letters")?;
    }
    Ok(())
}

/// Gives every open letter to `visit`. Without a topic there is none.
pub(super) fn each_open(
    client: &Client,
    letters: DeadLetters,
    mut visit: impl FnMut(Letter) -> Result<()>,
) -> Result<()> {
    let ledger = match Ledger::read(client, letters) {
        Err(client::Error::NoTopic(_)) => return Ok(()),
        read => read?,
    };
    for letter in ledger.letters(client, 0)? {
        let letter = letter?;
        if ledger.closed(letter.id.offset).is_none() {
            visit(letter)?;
        }
    }
    Ok(())
}

pub(super) fn print(out: &mut impl Write, letter: &Letter, json: bool) -> Result<()> {
    if json {
        writeln!(out, "{}", as_json(letter))?;
    } else {
        writeln!(out, "{}", as_line(letter))?;
    }
    Ok(())
}

// === impl Summary ===

impl Summary {
    fn with(summary: Option<Self>, letter: &Letter) -> Self {
        let mut summary = summary.unwrap_or_else(|| Self {
            by_reason: BTreeMap::new(),
            oldest: letter.time,
            newest: letter.time,
        });
        *summary
            .by_reason
            .entry(letter.reason().to_owned())
            .or_default() += 1;
        summary.oldest = summary.oldest.min(letter.time);
        summary.newest = summary.newest.max(letter.time);
        summary
    }

    fn print(&self, out: &mut impl Write, letters: &DeadLetters, json: bool) -> Result<()> {
        let DeadLetters { app, step, .. } = letters;
        let [oldest, newest] = [self.oldest, self.newest].map(event::format_time);
        let count: u64 = self.by_reason.values().sum();
        if json {
            let line = json!({
                "app": app, "step": step, "count": count, "oldest": oldest, "newest": newest,
                "reasons": self.by_reason,
            });
            return Ok(writeln!(out, "{line}")?);
        }
        let word = if count == 1 { "letter" } else { "letters" };
        writeln!(
            out,
            "{app}/{step}: {count} dead {word}, {oldest} to {newest}"
        )?;
        for (reason, count) in &self.by_reason {
            writeln!(out, "  {count:>6}  {}", text::plain(reason))?;
        }
        Ok(())
    }
}
