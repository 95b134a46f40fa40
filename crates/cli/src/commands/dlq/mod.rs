//! `formline dlq`: dead letters, and what becomes of them. Each command first reads the whole dead-letter topic of the
//! steps and sinks that it is about.

mod list;
mod report;
mod settle;
mod show;

use std::sync::Arc;

use anyhow::Result;
use formline_core::{
    App, event,
    ledger::DeadLetters,
    letter::{Letter, LetterId},
    settlement::How,
};
use serde_json::{Value, json};

use super::{load_without_plugins, process, select, sink, text};
use crate::arguments::{Dlq, Filter};

pub(super) fn run(command: &Dlq) -> Result<()> {
    text::unless_closed(match command {
        Dlq::List(arguments) => list::run(arguments),
        Dlq::Show(arguments) => show::run(arguments),
        Dlq::Replay(arguments) => settle::run(arguments, How::Replayed),
        Dlq::Discard(arguments) => settle::run(arguments, How::Discarded),
    })
}

// === impl Filter ===

impl Filter {
    fn is_empty(&self) -> bool {
        let names = self.steps.steps.is_empty() && self.sinks.sinks.is_empty();
        let texts = self.reason.is_none() && self.form.is_none();
        names && texts && self.since.since.is_none() && self.until.is_none()
    }

    /// The steps and sinks that are named; all of them if none is.
    fn chosen(&self, apps: &[Arc<App>]) -> Result<Vec<DeadLetters>> {
        let (steps, sinks) = (&self.steps.steps, &self.sinks.sinks);
        let mut chosen = Vec::new();
        if !steps.is_empty() || sinks.is_empty() {
            let steps = select(process::all(apps), steps, "step", |step| {
                (&step.app, &step.name)
            })?;
            chosen.extend(steps.iter().map(|step| DeadLetters {
                app: step.app.clone(),
                step: step.name.clone(),
                topics: step.topics(),
            }));
        }
        if !sinks.is_empty() || steps.is_empty() {
            let sinks = select(sink::all(apps), sinks, "sink", |(app, sink)| {
                (&app.name, &sink.name)
            })?;
            chosen.extend(sinks.iter().map(|(_, sink)| DeadLetters {
                app: sink.app.clone(),
                step: sink.name.clone(),
                topics: sink.input.clone(),
            }));
        }
        Ok(chosen)
    }

    fn admits(&self, letter: &Letter) -> bool {
        let (since, until) = (self.since.since, self.until);
        self.reason
            .as_ref()
            .is_none_or(|reason| reason == letter.reason())
            && self
                .form
                .as_ref()
                .is_none_or(|form| letter.form() == Some(form))
            && since.is_none_or(|since| letter.time >= since.0)
            && until.is_none_or(|until| letter.time < until.0)
    }
}

/// The step or sink that a letter names.
fn of_letter(apps: &[Arc<App>], id: &LetterId) -> Result<DeadLetters> {
    let everything = Filter::default().chosen(apps)?;
    let mut named = everything.into_iter();
    let found = named.find(|letters| (&letters.app, &letters.step) == (&id.app, &id.step));
    found.ok_or_else(|| anyhow::anyhow!("no app has a step or sink `{}/{}`", id.app, id.step))
}

/// What is known of a letter beside its record.
fn as_json(letter: &Letter) -> Value {
    json!({
        "letter": letter.id.to_string(),
        "app": letter.id.app,
        "step": letter.id.step,
        "time": event::format_time(letter.time),
        "reason": letter.reason(),
        "detail": letter.detail(),
        "attempts": letter.attempts(),
        "plugin": letter.plugin(),
        "topic": letter.place.topic,
        "partition": letter.place.partition,
        "offset": letter.place.offset,
    })
}

/// One line about a letter.
fn as_line(letter: &Letter) -> String {
    /// More does not fit beside the rest of the line.
    const DETAIL: usize = 60;
    let detail = letter.detail().lines().next().unwrap_or_default();
    let cut = match detail.char_indices().nth(DETAIL) {
        Some((end, _)) => format!("{}…", &detail[..end]),
        None => detail.to_owned(),
    };
    let (attempts, word) = match letter.attempts() {
        1 => (1, "attempt"),
        many => (many, "attempts"),
    };
    let time = event::format_time(letter.time);
    let line = format!(
        "{}  {time}  {}  {attempts} {word}  {cut}",
        letter.id,
        letter.reason()
    );
    text::plain(&line).into_owned()
}
