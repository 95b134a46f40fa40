//! `formline process`: runs steps only.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;
use formline_core::{App, app::Step};
use formline_processors::Options;

use super::topics;
use crate::{
    arguments::ProcessArgs,
    installation::{Installation, select},
    process::{self, Process},
};

pub(super) fn run(arguments: &ProcessArgs) -> Result<()> {
    let installation = Installation::load(&arguments.installation)?;
    let steps = select(
        all(&installation.apps),
        &arguments.only.steps,
        "step",
        |step| (&step.app, &step.name),
    )?;
    process::block_on(async {
        let process = Process::start(arguments.admin.admin, installation.settings.grace).await?;
        let applied = topics::apply_when_kafka_answers(&installation.client, &installation.apps);
        if process.unless_stopped(applied).await?.is_some() {
            spawn(&process, &installation, steps);
        }
        process.run().await
    })
}

/// The steps of all apps.
pub(super) fn all(apps: &[Arc<App>]) -> Vec<Arc<Step>> {
    apps.iter()
        .flat_map(|app| app.steps.iter().cloned())
        .collect()
}

/// The inputs that may contain a submission twice: the topics of forms, and topics that no step of
/// this process writes, because the app whose form writes them may run elsewhere.
fn form_topics(apps: &[Arc<App>]) -> BTreeSet<String> {
    let steps = || apps.iter().flat_map(|app| &app.steps);
    let forms: BTreeSet<&String> = apps
        .iter()
        .flat_map(|app| &app.forms)
        .map(|form| &form.topic)
        .collect();
    let outputs: BTreeSet<&String> = steps().flat_map(|step| step.output.values()).collect();
    let inputs = steps().flat_map(|step| step.topics());
    inputs
        .filter(|topic| forms.contains(topic) || !outputs.contains(topic))
        .collect()
}

/// Adds steps to a process.
pub(super) fn spawn(process: &Process, installation: &Installation, steps: Vec<Arc<Step>>) {
    let instance = &installation.settings.instance;
    let options = Options {
        client: installation.client.clone(),
        plugins: installation.plugins.clone(),
        cache: installation.cache.clone(),
        state: installation.data.join("state").join(instance),
        instance: instance.clone(),
        form_topics: form_topics(&installation.apps),
        telemetry: process.telemetry.clone(),
    };
    let running = formline_processors::run(options, steps, process.shutdown.clone());
    process.spawn("the processor host", async { Ok(running.await?) });
}
