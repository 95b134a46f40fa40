//! `formline process`: steps alone.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;
use formline_core::{App, app::Step};
use formline_processors::Options;

use super::{Installation, select, topics};
use crate::{
    arguments::Process,
    line::{self, Line},
};

pub(super) fn run(arguments: &Process) -> Result<()> {
    let installation = Installation::load(&arguments.apps)?;
    let steps = select(
        all(&installation.apps),
        &arguments.only.steps,
        "step",
        |step| (&step.app, &step.name),
    )?;
    line::block_on(async {
        let line = Line::begin(arguments.admin.admin, installation.settings.grace).await?;
        let applied = topics::apply_when_kafka_answers(&installation.client, &installation.apps);
        if line.unless_stopped(applied).await?.is_some() {
            add(&line, &installation, steps);
        }
        line.run().await
    })
}

/// The steps of all apps.
pub(super) fn all(apps: &[Arc<App>]) -> Vec<Arc<Step>> {
    apps.iter()
        .flat_map(|app| app.steps.iter().cloned())
        .collect()
}

/// The inputs in which a submission can stand twice: topics of forms, and those that no step writes as far as this process
/// knows, since the app whose form writes them may run elsewhere.
fn form_topics(apps: &[Arc<App>]) -> BTreeSet<String> {
    let steps = || apps.iter().flat_map(|app| &app.steps);
    let forms: BTreeSet<&String> = apps
        .iter()
        .flat_map(|app| &app.forms)
        .map(|form| &form.topic)
        .collect();
    let derived: BTreeSet<&String> = steps().flat_map(|step| step.output.values()).collect();
    let inputs = steps().flat_map(|step| step.topics());
    inputs
        .filter(|topic| forms.contains(topic) || !derived.contains(topic))
        .collect()
}

pub(super) fn add(line: &Line, installation: &Installation, steps: Vec<Arc<Step>>) {
    let instance = &installation.settings.instance;
    let options = Options {
        client: installation.client.clone(),
        plugins: installation.plugins.clone(),
        cache: installation.cache.clone(),
        state: installation.data.join("state").join(instance),
        instance: instance.clone(),
        form_topics: form_topics(&installation.apps),
        telemetry: line.telemetry.clone(),
    };
    let running = formline_processors::run(options, steps, line.shutdown.clone());
    line.part("the processor host", async { Ok(running.await?) });
}
