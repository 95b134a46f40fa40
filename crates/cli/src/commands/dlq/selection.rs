//! Which dead letters a command works on: the filter of the command line applied to the apps.

use std::sync::Arc;

use anyhow::Result;
use formline_core::{
    App, Client,
    dead_letter::{
        index::DeadLetterIndex,
        letter::{DeadLetter, DeadLetterId, DeadLetterOwner},
    },
    kafka::client::ClientError,
};

use crate::{
    arguments::DeadLetterFilter,
    commands::{process, sink},
    installation::select,
};

// === impl DeadLetterFilter ===

impl DeadLetterFilter {
    /// Whether the filter selects everything.
    pub(super) fn is_empty(&self) -> bool {
        let names = self.steps.steps.is_empty() && self.sinks.sinks.is_empty();
        let texts = self.reason.is_none() && self.form.is_none();
        names && texts && self.since.since.is_none() && self.until.is_none()
    }

    /// The named steps and sinks, or all of them if none is named.
    pub(super) fn sources(&self, apps: &[Arc<App>]) -> Result<Vec<DeadLetterOwner>> {
        let (steps, sinks) = (&self.steps.steps, &self.sinks.sinks);
        let mut sources = Vec::new();
        if !steps.is_empty() || sinks.is_empty() {
            let steps = select(process::all(apps), steps, "step", |step| {
                (&step.app, &step.name)
            })?;
            sources.extend(steps.iter().map(|step| DeadLetterOwner {
                app: step.app.clone(),
                step: step.name.clone(),
                topics: step.topics(),
            }));
        }
        if !sinks.is_empty() || steps.is_empty() {
            let sinks = select(sink::all(apps), sinks, "sink", |(app, sink)| {
                (&app.name, &sink.name)
            })?;
            sources.extend(sinks.iter().map(|(_, sink)| DeadLetterOwner {
                app: sink.app.clone(),
                step: sink.name.clone(),
                topics: sink.input.clone(),
            }));
        }
        Ok(sources)
    }

    /// Whether a dead letter of a selected step or sink passes the other filters.
    pub(super) fn matches(&self, letter: &DeadLetter) -> bool {
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

/// The step or sink that the name of a dead letter refers to.
pub(super) fn source_of(apps: &[Arc<App>], id: &DeadLetterId) -> Result<DeadLetterOwner> {
    let mut sources = DeadLetterFilter::default().sources(apps)?.into_iter();
    let found = sources.find(|source| (&source.app, &source.step) == (&id.app, &id.step));
    found.ok_or_else(|| anyhow::anyhow!("no app has a step or sink `{}/{}`", id.app, id.step))
}

/// Passes every open dead letter of a step or sink to `visit`. A missing topic contains none.
pub(super) fn each_open(
    client: &Client,
    source: DeadLetterOwner,
    mut visit: impl FnMut(DeadLetter) -> Result<()>,
) -> Result<()> {
    let index = match DeadLetterIndex::read(client, source) {
        Err(ClientError::NoTopic(_)) => return Ok(()),
        read => read?,
    };
    for letter in index.dead_letters(client, 0)? {
        let letter = letter?;
        if index.closed(letter.id.offset).is_none() {
            visit(letter)?;
        }
    }
    Ok(())
}
