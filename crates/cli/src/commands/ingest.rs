//! `formline ingest`: the HTTP service alone.

use anyhow::Result;
use formline_ingest::{Limits, Options};
use tokio::net::TcpListener;

use super::{Installation, topics};
use crate::{
    arguments::Ingest,
    line::{self, Line, listen},
};

pub(super) fn run(arguments: &Ingest) -> Result<()> {
    let installation = Installation::load(&arguments.apps)?;
    line::block_on(async {
        let line = Line::begin(arguments.admin.admin, installation.settings.grace).await?;
        let listener = listen(arguments.http.http, "--http").await?;
        add(&line, listener, &installation);
        let applied = topics::apply_when_kafka_answers(&installation.client, &installation.apps);
        line.unless_stopped(applied).await?;
        line.run().await
    })
}

pub(super) fn add(line: &Line, listener: TcpListener, installation: &Installation) {
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
        telemetry: line.telemetry.clone(),
    };
    let serving = formline_ingest::serve(options, line.shutdown.clone());
    line.part("ingest", async { Ok(serving.await?) });
}
