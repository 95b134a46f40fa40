//! `formline ingest`: runs the HTTP service only.

use anyhow::Result;
use formline_ingest::{Limits, Options};
use tokio::net::TcpListener;

use super::topics;
use crate::{
    arguments::IngestArgs,
    installation::Installation,
    process::{self, Process, listen},
};

pub(super) fn run(arguments: &IngestArgs) -> Result<()> {
    let installation = Installation::load(&arguments.installation)?;
    process::block_on(async {
        let process = Process::start(arguments.admin.admin, installation.settings.grace).await?;
        let listener = listen(arguments.http.http, "--http").await?;
        spawn(&process, listener, &installation);
        let applied = topics::apply_when_kafka_answers(&installation.client, &installation.apps);
        process.unless_stopped(applied).await?;
        process.run().await
    })
}

/// Adds the HTTP service to a process.
pub(super) fn spawn(process: &Process, listener: TcpListener, installation: &Installation) {
    let settings = &installation.settings;
    let limits = Limits {
        body_bytes: settings.ingest.body_bytes,
        in_flight: settings.ingest.in_flight,
        connections: settings.ingest.connections,
        request_timeout: settings.ingest.request_timeout,
        delivery_timeout: settings.ingest.delivery_timeout,
        proxies: settings.ingest.proxies,
        grace: settings.grace,
        ..Limits::default()
    };
    let options = Options {
        listener,
        apps: installation.apps.clone(),
        client: installation.client.clone(),
        limits,
        telemetry: process.telemetry.clone(),
    };
    let serving = formline_ingest::serve(options, process.shutdown.clone());
    process.spawn("ingest", async { Ok(serving.await?) });
}
