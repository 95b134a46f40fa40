//! `formline sink`: sinks alone.

use std::sync::Arc;

use anyhow::{Result, bail};
use formline_core::{App, app::Sink};
use formline_sinks::sheets::{Google, Options};

use super::{Installation, select, topics};
use crate::{
    arguments,
    line::{self, Line},
};

/// A sink with the app that it belongs to: what lies before it in the app decides what it waits for.
pub(super) type Placed = (Arc<App>, Arc<Sink>);

pub(super) fn run(arguments: arguments::Sink) -> Result<()> {
    let installation = Installation::load(&arguments.apps)?;
    let name_of = |(app, sink): &Placed| -> (&str, &str) { (&app.name, &sink.name) };
    let sinks = select(all(&installation.apps), &arguments.sinks, "sink", name_of)?;
    let google = match (arguments.sheets, &installation.settings.google_credentials) {
        (Some(emulator), _) => Google::emulator(emulator),
        (None, Some(key_file)) => Google::service_account(key_file),
        (None, None) => bail!("no Google credentials; set GOOGLE_APPLICATION_CREDENTIALS, or write to an emulator with --sheets HOST:PORT"),
    };
    line::block_on(async {
        let line = Line::begin(arguments.admin.admin, installation.settings.grace).await?;
        let applied = topics::apply_when_kafka_answers(&installation.client, &installation.apps);
        if line.unless_stopped(applied).await?.is_some() {
            add(&line, &installation, google, sinks);
        }
        line.run().await
    })
}

/// The sinks of all apps.
pub(super) fn all(apps: &[Arc<App>]) -> Vec<Placed> {
    let placed = |app: &Arc<App>| -> Vec<Placed> {
        app.sinks.iter().map(|sink| (Arc::clone(app), Arc::clone(sink))).collect()
    };
    apps.iter().flat_map(placed).collect()
}

pub(super) fn add(line: &Line, installation: &Installation, google: Google, sinks: Vec<Placed>) {
    let options = Options {
        client: installation.client.clone(),
        instance: installation.settings.instance.clone(),
        google,
        telemetry: line.telemetry.clone(),
    };
    let running = formline_sinks::run(options, sinks, line.shutdown.clone());
    line.part("the sinks", async { Ok(running.await?) });
}
