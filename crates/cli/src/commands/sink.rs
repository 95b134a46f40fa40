//! `formline sink`: sinks alone.

use std::{net::SocketAddr, path::Path, sync::Arc};

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

pub(super) fn run(arguments: &arguments::Sink) -> Result<()> {
    let installation = Installation::load(&arguments.apps)?;
    let sinks = select(
        all(&installation.apps),
        &arguments.only.sinks,
        "sink",
        |(app, sink)| (&app.name, &sink.name),
    )?;
    let google = match (
        arguments.sheets.sheets,
        &installation.settings.google_credentials,
    ) {
        (Some(address), _) => emulator(address),
        (None, Some(key_file)) => service_account(key_file),
        (None, None) => bail!(
            "no Google credentials; set GOOGLE_APPLICATION_CREDENTIALS, or write to an emulator with --sheets HOST:PORT"
        ),
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

/// Our own server instead of Google.
pub(super) fn emulator(address: SocketAddr) -> Google {
    Google::Emulator {
        base_url: format!("http://{address}/"),
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

pub(super) fn add(line: &Line, installation: &Installation, google: Google, sinks: Vec<Placed>) {
    let options = Options {
        client: installation.client.clone(),
        instance: installation.settings.instance.clone(),
        google,
        telemetry: line.telemetry.clone(),
    };
    let running = formline_sinks::sheets::run(options, sinks, line.shutdown.clone());
    line.part("the sinks", async { Ok(running.await?) });
}
