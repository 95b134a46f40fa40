//! `formline dlq replay` and `discard`: closes dead letters that were named or chosen by a filter.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, IsTerminal as _, Write},
    sync::Arc,
};

use anyhow::{Result, ensure};
use formline_core::{
    App, Client,
    ledger::{DeadLetters, Ledger, Letters},
    letter::{Letter, LetterId},
    settlement::{Error, How, Settler},
};

use super::{
    list, load_without_plugins, of_letter,
    report::{Outcome, Report},
};
use crate::arguments::DlqSettle;

/// The letters of one step or sink that are to be settled. At least one.
struct Chosen {
    letters: DeadLetters,
    offsets: BTreeSet<i64>,
}

pub(super) fn run(arguments: &DlqSettle, how: How) -> Result<()> {
    let (client, apps) = load_without_plugins(&arguments.folders, &arguments.kafka)?;
    let is_filter = arguments.letters.is_empty();
    let all = if is_filter {
        by_filter(&client, &apps, arguments)?
    } else {
        by_name(&apps, &arguments.letters)?
    };
    let total = all.iter().map(|chosen| chosen.offsets.len()).sum();
    let asks = is_filter && total > 1 && !arguments.yes && !arguments.dry_run;
    if asks && io::stdin().is_terminal() {
        let question = format!("{total} dead letters will be {how}; go on? [y/N] ");
        let agrees = agrees(&question, &mut io::stdin().lock(), &mut io::stderr())?;
        ensure!(agrees, "nothing was changed");
    }
    let mut report = Report::new(how, total, arguments);
    for chosen in all {
        if arguments.dry_run {
            try_out(&client, chosen, &mut report)?;
        } else {
            settle(&client, chosen, how, &mut report)?;
        }
    }
    report.finish()
}

fn by_filter(client: &Client, apps: &[Arc<App>], arguments: &DlqSettle) -> Result<Vec<Chosen>> {
    let mut all = Vec::new();
    for letters in arguments.filter.chosen(apps)? {
        let mut offsets = BTreeSet::new();
        list::each_open(client, letters.clone(), |letter| {
            if arguments.filter.admits(&letter) {
                offsets.insert(letter.id.offset);
            }
            Ok(())
        })?;
        if !offsets.is_empty() {
            all.push(Chosen { letters, offsets });
        }
    }
    Ok(all)
}

fn by_name(apps: &[Arc<App>], named: &[LetterId]) -> Result<Vec<Chosen>> {
    let mut by_owner: BTreeMap<(&str, &str), Chosen> = BTreeMap::new();
    for id in named {
        let letters = of_letter(apps, id)?;
        let chosen = by_owner.entry((&id.app, &id.step)).or_insert(Chosen {
            letters,
            offsets: BTreeSet::new(),
        });
        chosen.offsets.insert(id.offset);
    }
    Ok(by_owner.into_values().collect())
}

/// Asks a person. Only a clear yes is one.
fn agrees(question: &str, input: &mut impl BufRead, out: &mut impl Write) -> io::Result<bool> {
    write!(out, "{question}")?;
    out.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Says what would be done.
fn try_out(client: &Client, chosen: Chosen, report: &mut Report) -> Result<()> {
    let ledger = Ledger::read(client, chosen.letters.clone())?;
    let letters = ledger.letters(client, 0)?;
    each(letters, chosen, report, |letter, report| {
        let closed = ledger.closed(letter.id.offset);
        let outcome = match closed {
            Some(why) => Outcome::Failed(format!("{} {why}", letter.id)),
            None => Outcome::Would(letter),
        };
        report.note(outcome)
    })
}

/// Closes the letters, oldest first. What Kafka refuses stays open, and the others go on.
fn settle(client: &Client, chosen: Chosen, how: How, report: &mut Report) -> Result<()> {
    let owner = chosen.letters.clone();
    let mut settler = Settler::open(client, owner.clone())?;
    let letters = settler.ledger().letters(client, 0)?;
    each(letters, chosen, report, |letter, report| {
        report.wait();
        let settled = match how {
            How::Replayed => settler.replay(&letter),
            How::Discarded => settler.discard(&letter),
        };
        match settled {
            Ok(()) => report.note(Outcome::Done(letter.id)),
            Err(error @ (Error::Closed { .. } | Error::NotRead { .. })) => {
                report.note(Outcome::Failed(error.to_string()))
            }
            Err(error @ Error::Refused { .. }) => {
                settler = Settler::open(client, owner.clone())?;
                report.note(Outcome::Failed(error.to_string()))
            }
            Err(error) => Err(report.cut_off(error)),
        }
    })
}

/// Gives the chosen letters to `visit`, and reports those that are not there.
fn each(
    letters: Letters,
    chosen: Chosen,
    report: &mut Report,
    mut visit: impl FnMut(Letter, &mut Report) -> Result<()>,
) -> Result<()> {
    let mut missing = chosen.offsets;
    for letter in letters {
        let letter = letter?;
        if missing.remove(&letter.id.offset) {
            visit(letter, report)?;
        }
        if missing.is_empty() {
            break;
        }
    }
    let DeadLetters { app, step, .. } = chosen.letters;
    for offset in missing {
        let problem = format!("there is no dead letter {app}/{step}@{offset}");
        report.note(Outcome::Failed(problem))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        for (answer, expected) in [("y\n", true), ("yes\n", true), ("\n", false), ("", false)] {
            let mut out = Vec::new();
            let agreed = agrees("go on? ", &mut answer.as_bytes(), &mut out);
            assert_eq!(agreed.ok(), Some(expected), "{answer}");
            assert_eq!(out, b"go on? ");
        }
    }
}
