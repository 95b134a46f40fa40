//! `formline sink`: sinks alone.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::Result;
use formline_core::{App, Settings};
use formline_sinks::{Google, Options, Placed};

use super::{Installation, select, topics};
use crate::{
    arguments,
    line::{self, Line},
};

pub(super) fn run(arguments: &arguments::Sink) -> Result<()> {
    let installation = Installation::load(&arguments.apps)?;
    let sinks = select(
        all(&installation.apps),
        &arguments.only.sinks,
        "sink",
        |(app, sink)| (&app.name, &sink.name),
    )?;
    let google = google(&arguments.sheets, &installation.settings);
    line::block_on(async {
        let line = Line::begin(arguments.admin.admin, installation.settings.grace).await?;
        let options = options(&line, &installation, google);
        options.check(&sinks)?;
        let applied = topics::apply_when_kafka_answers(&installation.client, &installation.apps);
        if line.unless_stopped(applied).await?.is_some() {
            add(&line, options, sinks);
        }
        line.run().await
    })
}

/// Which Google the sheets are at, if somebody has said so.
pub(super) fn google(sheets: &arguments::Sheets, settings: &Settings) -> Option<Google> {
    match (sheets.sheets, &settings.google_credentials) {
        (Some(address), _) => Some(emulator(address)),
        (None, Some(key_file)) => Some(service_account(key_file)),
        (None, None) => None,
    }
}

/// Our own server instead of Google.
pub(super) fn emulator(address: SocketAddr) -> Google {
    Google::Emulator {
        base_url: format!("http://{address}/"),
        timing: formline_sinks::EmulatorTiming::default(),
    }
}

/// Google itself.
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

/// What sinks need to know of the installation.
pub(super) fn options(line: &Line, installation: &Installation, google: Option<Google>) -> Options {
    Options {
        client: installation.client.clone(),
        instance: installation.settings.instance.clone(),
        google,
        google_calls_per_minute: installation.settings.google_calls_per_minute,
        postgres_url: installation.settings.postgres_url.clone(),
        smtp: installation.settings.smtp.clone(),
        webhook_private_addresses: (installation.settings).webhook_private_addresses.clone(),
        redis: installation.settings.redis.clone(),
        telemetry: line.telemetry.clone(),
    }
}

pub(super) fn add(line: &Line, options: Options, sinks: Vec<Placed>) {
    let running = formline_sinks::run(options, sinks, line.shutdown.clone());
    line.part("the sinks", async { Ok(running.await?) });
}
