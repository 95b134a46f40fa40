//! What `formline verify` prints: a table with a line for each sink, and the ids that somebody has to look at.

use std::io::{self, Write};

use anyhow::Result;
use formline_core::{EventId, event};
use serde_json::{Value, json};

use super::{
    account::{Account, Fate},
    submissions::Submissions,
};
use crate::commands::text;

/// Ids of one list on a terminal; `--json` prints all.
const SHOWN: usize = 100;

const COLUMNS: [&str; 10] = [
    "accepted",
    "delivered",
    "late",
    "uncertain",
    "dead letters",
    "under way",
    "not passed on",
    "missing",
    "doubled",
    "disorder",
];

pub(super) fn print(
    submissions: &Submissions,
    accounts: &[Account<'_>],
    is_json: bool,
) -> Result<()> {
    let mut out = io::stdout().lock();
    if is_json {
        return Ok(writeln!(out, "{}", as_json(submissions, accounts))?);
    }
    let (count, repetitions) = (submissions.count(), submissions.repetitions);
    let since = event::format_time(submissions.since);
    writeln!(
        out,
        "{count} submissions since {since}, {repetitions} repetitions of an Idempotency-Key"
    )?;
    table(&mut out, accounts)?;
    for account in accounts {
        lists(&mut out, account)?;
    }
    Ok(())
}

fn table(out: &mut impl Write, accounts: &[Account<'_>]) -> io::Result<()> {
    let width = accounts.iter().map(|account| account.title.len());
    let width = width.max().unwrap_or_default().max("sink".len());
    write!(out, "{:<width$}", "sink")?;
    for column in COLUMNS {
        write!(out, "  {column:>9}")?;
    }
    writeln!(out)?;
    for account in accounts {
        write!(out, "{:<width$}", account.title)?;
        for (column, count) in COLUMNS.iter().zip(counts(account)) {
            write!(out, "  {count:>0$}", column.len().max(9))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// In the order of the columns.
fn counts(account: &Account<'_>) -> [usize; COLUMNS.len()] {
    let count = |fate| account.of(fate).count();
    [
        account.fates.len(),
        count(Fate::Delivered),
        account.late,
        count(Fate::Uncertain),
        count(Fate::DeadLetter),
        count(Fate::UnderWay),
        count(Fate::NotPassedOn),
        count(Fate::Missing),
        count(Fate::Doubled),
        account.disorder.len(),
    ]
}

fn lists(out: &mut impl Write, account: &Account<'_>) -> io::Result<()> {
    let ids = |fate| account.of(fate).map(|id| id.to_string());
    list(out, account, "missing", ids(Fate::Missing))?;
    list(out, account, "doubled", ids(Fate::Doubled))?;
    let disorder = account.disorder.iter();
    let disorder = disorder.map(|(id, place)| format!("{id}  {place}"));
    list(out, account, "out of order", disorder)?;
    let letters = account.of(Fate::DeadLetter).map(|id| {
        let (stop, reason) = given_up(account, id);
        format!("{id}  dead letter at {stop}: {reason}")
    });
    list(out, account, "uncertain", ids(Fate::Uncertain))?;
    list(out, account, "dead letters", letters)?;
    list(out, account, "under way", ids(Fate::UnderWay))?;
    list(out, account, "not passed on", ids(Fate::NotPassedOn))
}

fn list(
    out: &mut impl Write,
    account: &Account<'_>,
    title: &str,
    lines: impl Iterator<Item = String>,
) -> io::Result<()> {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        writeln!(out, "{title} at {}:", account.title)?;
    }
    for line in lines.by_ref().take(SHOWN) {
        writeln!(out, "  {}", text::plain(&line))?;
    }
    match lines.count() {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more; --json prints all"),
    }
}

/// By whom a submission was given up, and why.
fn given_up<'a>(account: &'a Account<'_>, id: EventId) -> (&'a str, &'a str) {
    let found = account.given_up.get(&id);
    found.map_or(("", ""), |(stop, reason)| (stop, reason))
}

fn as_json(submissions: &Submissions, accounts: &[Account<'_>]) -> Value {
    json!({
        "since": event::format_time(submissions.since),
        "submissions": submissions.count(),
        "repetitions": submissions.repetitions,
        "sinks": accounts.iter().map(sink_as_json).collect::<Value>(),
    })
}

fn sink_as_json(account: &Account<'_>) -> Value {
    let ids = |fate| {
        let ids = account.of(fate).map(|id| Value::from(id.to_string()));
        ids.collect::<Value>()
    };
    let letters = account.of(Fate::DeadLetter).map(|id| {
        let (stop, reason) = given_up(account, id);
        json!({ "id": id.to_string(), "at": stop, "reason": reason })
    });
    let disorder = account.disorder.iter().map(|(id, place)| {
        json!({
            "id": id.to_string(),
            "spreadsheet": &*place.spreadsheet,
            "tab": &*place.tab,
            "row": place.row,
        })
    });
    json!({
        "sink": account.title,
        "accepted": account.fates.len(),
        "delivered": account.of(Fate::Delivered).count(),
        "late": account.late,
        "uncertain": ids(Fate::Uncertain),
        "dead_letters": letters.collect::<Value>(),
        "under_way": ids(Fate::UnderWay),
        "not_passed_on": ids(Fate::NotPassedOn),
        "missing": ids(Fate::Missing),
        "doubled": ids(Fate::Doubled),
        "disorder": disorder.collect::<Value>(),
    })
}
