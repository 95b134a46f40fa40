//! `formline dlq replay` and `discard`: resolves dead letters that were named or selected by a
//! filter.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, IsTerminal as _, Write},
    sync::Arc,
};

use anyhow::{Result, ensure};
use formline_core::{
    App, Client,
    dead_letter::{
        index::{DeadLetterIndex, DeadLetterReader, Resolution},
        letter::{DeadLetter, DeadLetterId, DeadLetterOwner},
        replay::{ReplayError, Replayer},
    },
};

use super::{
    report::{LetterResult, ResolutionReport},
    selection::{each_open, source_of},
};
use crate::{arguments::DlqResolveArgs, installation::load_without_plugins};

/// The dead letters of one step or sink to resolve; at least one.
struct SelectedLetters {
    source: DeadLetterOwner,
    offsets: BTreeSet<i64>,
}

pub(super) fn run(arguments: &DlqResolveArgs, how: Resolution) -> Result<()> {
    let (client, apps) = load_without_plugins(&arguments.folders, &arguments.kafka)?;
    let is_filter = arguments.letters.is_empty();
    let all = if is_filter {
        by_filter(&client, &apps, arguments)?
    } else {
        by_name(&apps, &arguments.letters)?
    };
    let total = all.iter().map(|selected| selected.offsets.len()).sum();
    let asks = is_filter && total > 1 && !arguments.yes && !arguments.dry_run;
    if asks && io::stdin().is_terminal() {
        let question = format!("{total} dead letters will be {how}; continue? [y/N] ");
        let is_confirmed = confirm(&question, &mut io::stdin().lock(), &mut io::stderr())?;
        ensure!(is_confirmed, "nothing was changed");
    }
    let mut report = ResolutionReport::new(how, total, arguments);
    for selected in all {
        if arguments.dry_run {
            dry_run(&client, selected, &mut report)?;
        } else {
            resolve(&client, selected, how, &mut report)?;
        }
    }
    report.finish()
}

fn by_filter(
    client: &Client,
    apps: &[Arc<App>],
    arguments: &DlqResolveArgs,
) -> Result<Vec<SelectedLetters>> {
    let mut all = Vec::new();
    for source in arguments.filter.sources(apps)? {
        let mut offsets = BTreeSet::new();
        each_open(client, source.clone(), |letter| {
            if arguments.filter.matches(&letter) {
                offsets.insert(letter.id.offset);
            }
            Ok(())
        })?;
        if !offsets.is_empty() {
            all.push(SelectedLetters { source, offsets });
        }
    }
    Ok(all)
}

fn by_name(apps: &[Arc<App>], named: &[DeadLetterId]) -> Result<Vec<SelectedLetters>> {
    let mut by_source: BTreeMap<(&str, &str), SelectedLetters> = BTreeMap::new();
    for id in named {
        let source = source_of(apps, id)?;
        let selected = by_source
            .entry((&id.app, &id.step))
            .or_insert(SelectedLetters {
                source,
                offsets: BTreeSet::new(),
            });
        selected.offsets.insert(id.offset);
    }
    Ok(by_source.into_values().collect())
}

/// Asks for confirmation. Anything but an explicit yes is a no.
fn confirm(question: &str, input: &mut impl BufRead, out: &mut impl Write) -> io::Result<bool> {
    write!(out, "{question}")?;
    out.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Reports what would be done.
fn dry_run(
    client: &Client,
    selected: SelectedLetters,
    report: &mut ResolutionReport,
) -> Result<()> {
    let index = DeadLetterIndex::read(client, selected.source.clone())?;
    let letters = index.dead_letters(client, 0)?;
    each(letters, selected, report, |letter, report| {
        let closed = index.closed(letter.id.offset);
        let result = match closed {
            Some(state) => LetterResult::Failed(format!("{} {state}", letter.id)),
            None => LetterResult::WouldResolve(letter),
        };
        report.add(result)
    })
}

/// Resolves the dead letters, oldest first. Those that Kafka rejects stay open.
fn resolve(
    client: &Client,
    selected: SelectedLetters,
    how: Resolution,
    report: &mut ResolutionReport,
) -> Result<()> {
    let source = selected.source.clone();
    let mut replayer = Replayer::open(client, source.clone())?;
    let letters = replayer.index().dead_letters(client, 0)?;
    each(letters, selected, report, |letter, report| {
        report.wait();
        let resolved = match how {
            Resolution::Replayed => replayer.replay(&letter),
            Resolution::Discarded => replayer.discard(&letter),
        };
        match resolved {
            Ok(()) => report.add(LetterResult::Resolved(letter.id)),
            Err(error @ (ReplayError::Closed { .. } | ReplayError::NotRead { .. })) => {
                report.add(LetterResult::Failed(error.to_string()))
            }
            Err(error @ ReplayError::Rejected { .. }) => {
                replayer = Replayer::open(client, source.clone())?;
                report.add(LetterResult::Failed(error.to_string()))
            }
            Err(error) => Err(report.interrupted(error)),
        }
    })
}

/// Passes the selected dead letters to `visit`, and reports those that do not exist.
fn each(
    letters: DeadLetterReader,
    selected: SelectedLetters,
    report: &mut ResolutionReport,
    mut visit: impl FnMut(DeadLetter, &mut ResolutionReport) -> Result<()>,
) -> Result<()> {
    let mut missing = selected.offsets;
    for letter in letters {
        let letter = letter?;
        if missing.remove(&letter.id.offset) {
            visit(letter, report)?;
        }
        if missing.is_empty() {
            break;
        }
    }
    let DeadLetterOwner { app, step, .. } = selected.source;
    for offset in missing {
        let problem = format!("there is no dead letter {app}/{step}@{offset}");
        report.add(LetterResult::Failed(problem))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_explicit_yes_confirms() {
        for (answer, expected) in [("y\n", true), ("yes\n", true), ("\n", false), ("", false)] {
            let mut out = Vec::new();
            let confirmed = confirm("continue? ", &mut answer.as_bytes(), &mut out);
            assert_eq!(confirmed.ok(), Some(expected), "{answer}");
            assert_eq!(out, b"continue? ");
        }
    }
}
