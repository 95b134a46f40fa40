//! Whether a step may run a plug-in: what it must declare, and how its trial must end.

use std::sync::Arc;

use formline_core::{
    Client,
    app::{Step, schema::Schema},
};
use tokio_util::sync::CancellationToken;

use super::{decision::SwapOutcome, score::Score, slot::Slot, trial::Sample};
use crate::{
    plugin::{Assignment, Instance, Plugin},
    state::Stores,
};

/// Checks whether a new plug-in may run. Returns the score of the old one for recent events.
pub(super) fn admit(
    slot: &Slot,
    new: &Plugin,
    old: &Plugin,
    client: &Client,
    stop: &CancellationToken,
) -> Result<Score, (String, SwapOutcome)> {
    let step = &slot.step;
    let checked = check(step, new, Some(old)).and_then(|()| slot.check_schemas(new));
    checked.map_err(|problem| (problem, SwapOutcome::Unfit))?;
    compare(step, new, old, client, stop).map_err(|problem| (problem, SwapOutcome::FailedTrial))
}

/// Lets both plug-ins process the same recent events, and returns the score of the old one. Without
/// Kafka there is nothing to compare, and only the probation can show that the new one is worse.
fn compare(
    step: &Arc<Step>,
    new: &Plugin,
    old: &Plugin,
    client: &Client,
    stop: &CancellationToken,
) -> Result<Score, String> {
    let sample = match Sample::read(client, step, || !stop.is_cancelled()) {
        Ok(sample) => sample,
        Err(error) => {
            tracing::warn!(%error, "cannot try the new plug-in on recent events");
            return Ok(Score::default());
        }
    };
    let new = sample
        .run(new, step)
        .map_err(|failure| format!("it does not start: {failure}"))?;
    // An old plug-in that does not start is no basis for comparison.
    let old = sample.run(old, step).unwrap_or_default();
    if new.is_far_worse_than(old) {
        return Err(format!(
            "it fails for {} of {} recent events, the old one for {}",
            new.failed, new.events, old.failed
        ));
    }
    Ok(old)
}

/// Checks whether a step can run with this plug-in: ports, configuration, and a start on trial.
pub(crate) fn check(step: &Arc<Step>, plugin: &Plugin, old: Option<&Plugin>) -> Result<(), String> {
    let facts = &plugin.facts;
    check_ports("input", &facts.inputs, step.input.keys())?;
    check_ports("output", &facts.outputs, step.output.keys())?;
    if old.is_some_and(|old| old.facts.stores.is_empty()) && !facts.stores.is_empty() {
        return Err(
            "it has stores, which need topics of their own; restart the process to create them"
                .to_owned(),
        );
    }
    let schema = Schema::compile(facts.config_schema.clone()).map_err(|error| error.to_string())?;
    if let Some(violation) = schema.violations(&step.config).first() {
        return Err(format!(
            "config {}: {}",
            violation.pointer, violation.detail
        ));
    }
    let assignment = Assignment { step, partition: 0 };
    let started = Instance::start(plugin, assignment, &mut Stores::in_memory());
    started
        .map(drop)
        .map_err(|failure| format!("it does not start: {failure}"))
}

fn check_ports<'a>(
    kind: &str,
    declared: &[String],
    bound: impl Iterator<Item = &'a String>,
) -> Result<(), String> {
    let mut bound: Vec<_> = bound.collect();
    let mut declared: Vec<_> = declared.iter().collect();
    bound.sort();
    declared.sort();
    if bound == declared {
        return Ok(());
    }
    Err(format!(
        "its {kind} ports are {declared:?}, but the step binds {bound:?}"
    ))
}
