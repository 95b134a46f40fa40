//! `formline dlq list`: counts dead letters per step and sink, or lists the selected ones.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use anyhow::Result;
use formline_core::{
    dead_letter::letter::{DeadLetter, DeadLetterOwner},
    event,
};
use jiff::Timestamp;
use serde_json::json;

use super::{format, selection::each_open};
use crate::{arguments::DlqListArgs, installation::load_without_plugins, terminal};

/// The open dead letters of one step or sink; at least one.
struct Summary {
    by_reason: BTreeMap<String, u64>,
    oldest: Timestamp,
    newest: Timestamp,
}

pub(super) fn run(arguments: &DlqListArgs) -> Result<()> {
    let (client, apps) = load_without_plugins(&arguments.folders, &arguments.kafka)?;
    let (filter, json) = (&arguments.filter, arguments.output.json);
    let mut out = io::stdout().lock();
    let mut is_empty = true;
    for source in filter.sources(&apps)? {
        let mut summary = None;
        each_open(&client, source.clone(), |letter| {
            if filter.is_empty() {
                summary = Some(Summary::with(summary.take(), &letter));
            } else if filter.matches(&letter) {
                is_empty = false;
                format::print(&mut out, &letter, json)?;
            }
            Ok(())
        })?;
        if let Some(summary) = summary {
            is_empty = false;
            summary.print(&mut out, &source, json)?;
        }
    }
    if is_empty && !json {
        writeln!(out, "no dead letters")?;
    }
    Ok(())
}

// === impl Summary ===

impl Summary {
    /// The summary with one more dead letter.
    fn with(summary: Option<Self>, letter: &DeadLetter) -> Self {
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

    fn print(&self, out: &mut impl Write, source: &DeadLetterOwner, json: bool) -> Result<()> {
        let DeadLetterOwner { app, step, .. } = source;
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
            writeln!(out, "  {count:>6}  {}", terminal::plain(reason))?;
        }
        Ok(())
    }
}
