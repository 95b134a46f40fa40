//! `formline sink`: runs sinks only.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::Result;
use formline_core::{App, Client, Settings, Telemetry};
use formline_sinks::{EmulatorTiming, Google, Options, Placed};

use super::topics;
use crate::{
    arguments::{SheetsArgs, SinkArgs},
    installation::{Installation, select},
    process::{self, Process},
};

pub(super) fn run(arguments: &SinkArgs) -> Result<()> {
    let installation = Installation::load(&arguments.installation)?;
    let sinks = select(
        all(&installation.apps),
        &arguments.only.sinks,
        "sink",
        |(app, sink)| (&app.name, &sink.name),
    )?;
    let Installation {
        settings, client, ..
    } = &installation;
    let google = google(&arguments.sheets, settings);
    process::block_on(async {
        let process = Process::start(arguments.admin.admin, settings.grace).await?;
        let options = options(settings, client.clone(), google, process.telemetry.clone());
        options.check(&sinks)?;
        let applied = topics::apply_when_kafka_answers(client, &installation.apps);
        if process.unless_stopped(applied).await?.is_some() {
            spawn(&process, options, sinks);
        }
        process.run().await
    })
}

/// Where the sheets are: in the emulator or at Google. None if neither is configured.
pub(super) fn google(sheets: &SheetsArgs, settings: &Settings) -> Option<Google> {
    match (sheets.sheets, &settings.google_credentials) {
        (Some(address), _) => Some(emulator(address)),
        (None, Some(key_file)) => Some(service_account(key_file)),
        (None, None) => None,
    }
}

/// The emulator at an address.
pub(super) fn emulator(address: SocketAddr) -> Google {
    Google::Emulator {
        base_url: format!("http://{address}/"),
        timing: EmulatorTiming::default(),
    }
}

/// Google, with the key of a service account.
pub(super) fn service_account(key_file: &Path) -> Google {
    Google::ServiceAccount {
        key_file: key_file.to_owned(),
        base_url: None,
    }
}

/// The sinks of all apps.
pub(super) fn all(apps: &[Arc<App>]) -> Vec<Placed> {
    let placed = |app: &Arc<App>| -> Vec<Placed> {
        app.sinks
            .iter()
            .map(|sink| (Arc::clone(app), Arc::clone(sink)))
            .collect()
    };
    apps.iter().flat_map(placed).collect()
}

/// The options of the sinks, from the settings.
pub(super) fn options(
    settings: &Settings,
    client: Client,
    google: Option<Google>,
    telemetry: Telemetry,
) -> Options {
    Options {
        client,
        instance: settings.instance.clone(),
        google,
        google_calls_per_minute: settings.google_calls_per_minute,
        postgres_url: settings.postgres_url.clone(),
        smtp: settings.smtp.clone(),
        webhook_private_addresses: settings.webhook_private_addresses.clone(),
        redis: settings.redis.clone(),
        telemetry,
    }
}

/// Adds sinks to a process.
pub(super) fn spawn(process: &Process, options: Options, sinks: Vec<Placed>) {
    let running = formline_sinks::run(options, sinks, process.shutdown.clone());
    process.spawn("the sinks", async { Ok(running.await?) });
}
