//! The output of `formline verify`: a table with one row per sink, and the ids of the submissions
//! that need attention.

use std::io::{self, Write};

use anyhow::Result;
use formline_core::{EventId, event};
use serde_json::{Value, json};

use super::{
    account::{SinkAccount, SubmissionState},
    submissions::Submissions,
};
use crate::terminal;

/// Maximum number of ids that are printed of one list; `--json` prints all.
const MAX_LISTED: usize = 100;

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
    accounts: &[SinkAccount<'_>],
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
    print_table(&mut out, accounts)?;
    for account in accounts {
        print_lists(&mut out, account)?;
    }
    Ok(())
}

fn print_table(out: &mut impl Write, accounts: &[SinkAccount<'_>]) -> io::Result<()> {
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

/// The counts, in the order of [`COLUMNS`].
fn counts(account: &SinkAccount<'_>) -> [usize; COLUMNS.len()] {
    let count = |state| account.of(state).count();
    [
        account.states.len(),
        count(SubmissionState::Delivered),
        account.late,
        count(SubmissionState::OutcomeUnknown),
        count(SubmissionState::DeadLettered),
        count(SubmissionState::UnderWay),
        count(SubmissionState::NotPassedOn),
        count(SubmissionState::Missing),
        count(SubmissionState::Doubled),
        account.disorder.len(),
    ]
}

fn print_lists(out: &mut impl Write, account: &SinkAccount<'_>) -> io::Result<()> {
    use SubmissionState as State;
    let ids = |state| account.of(state).map(|id| id.to_string());
    print_list(out, account, "missing", ids(State::Missing))?;
    print_list(out, account, "doubled", ids(State::Doubled))?;
    let disorder = account.disorder.iter();
    let disorder = disorder.map(|(id, place)| format!("{id}  {place}"));
    print_list(out, account, "out of order", disorder)?;
    let letters = account.of(State::DeadLettered).map(|id| {
        let (stop, reason) = dead_letter_of(account, id);
        format!("{id}  dead letter at {stop}: {reason}")
    });
    print_list(out, account, "uncertain", ids(State::OutcomeUnknown))?;
    print_list(out, account, "dead letters", letters)?;
    print_list(out, account, "under way", ids(State::UnderWay))?;
    print_list(out, account, "not passed on", ids(State::NotPassedOn))
}

fn print_list(
    out: &mut impl Write,
    account: &SinkAccount<'_>,
    title: &str,
    lines: impl Iterator<Item = String>,
) -> io::Result<()> {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        writeln!(out, "{title} at {}:", account.title)?;
    }
    for line in lines.by_ref().take(MAX_LISTED) {
        writeln!(out, "  {}", terminal::plain(&line))?;
    }
    match lines.count() {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more; --json prints all"),
    }
}

/// The step or sink that has dead-lettered a submission, and the reason.
fn dead_letter_of<'a>(account: &'a SinkAccount<'_>, id: EventId) -> (&'a str, &'a str) {
    let found = account.dead_lettered.get(&id);
    found.map_or(("", ""), |(stop, reason)| (stop, reason))
}

fn as_json(submissions: &Submissions, accounts: &[SinkAccount<'_>]) -> Value {
    json!({
        "since": event::format_time(submissions.since),
        "submissions": submissions.count(),
        "repetitions": submissions.repetitions,
        "sinks": accounts.iter().map(sink_as_json).collect::<Value>(),
    })
}

fn sink_as_json(account: &SinkAccount<'_>) -> Value {
    use SubmissionState as State;
    let ids = |state| {
        let ids = account.of(state).map(|id| Value::from(id.to_string()));
        ids.collect::<Value>()
    };
    let letters = account.of(State::DeadLettered).map(|id| {
        let (stop, reason) = dead_letter_of(account, id);
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
        "accepted": account.states.len(),
        "delivered": account.of(State::Delivered).count(),
        "late": account.late,
        "uncertain": ids(State::OutcomeUnknown),
        "dead_letters": letters.collect::<Value>(),
        "under_way": ids(State::UnderWay),
        "not_passed_on": ids(State::NotPassedOn),
        "missing": ids(State::Missing),
        "doubled": ids(State::Doubled),
        "disorder": disorder.collect::<Value>(),
    })
}
