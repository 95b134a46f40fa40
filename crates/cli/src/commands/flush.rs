//! `formline flush`: what waits in Redis goes to its sheet, once.

use anyhow::{Result, ensure};
use formline_core::{Shutdown, Telemetry};
use formline_sinks::Flushed;
use serde_json::json;

use super::{load_settings_and_apps, select, sink};
use crate::{arguments::Flush, line};

pub(super) fn run(arguments: &Flush) -> Result<()> {
    let (settings, apps) = load_settings_and_apps(&arguments.folders, &arguments.kafka)?;
    let sinks = select(sink::all(&apps), &arguments.sinks, "sink", |(app, sink)| {
        (&app.name, &sink.name)
    })?;
    let names: Vec<_> = sinks
        .iter()
        .map(|(app, sink)| format!("{}/{}", app.name, sink.name))
        .collect();
    let options = formline_sinks::Options {
        client: settings.client(),
        google: sink::google(&arguments.sheets, &settings),
        google_calls_per_minute: settings.google_calls_per_minute,
        instance: settings.instance,
        postgres_url: settings.postgres_url,
        smtp: settings.smtp,
        webhook_private_addresses: settings.webhook_private_addresses,
        redis: settings.redis,
        telemetry: Telemetry::new(),
    };
    line::block_on(async {
        let shutdown = Shutdown::on_signals()?;
        let flushed = formline_sinks::flush(options, sinks, shutdown, arguments.timeout).await?;
        let mut troubles = Vec::new();
        for (sink, Flushed { rows, trouble }) in names.iter().zip(flushed) {
            let why = trouble.map(|error| error.to_string());
            if arguments.output.json {
                println!("{}", json!({ "sink": sink, "rows": rows, "error": why }));
            } else {
                println!("{sink}: {rows} rows written");
            }
            troubles.extend(why.map(|why| format!("{sink}: {why}")));
        }
        ensure!(troubles.is_empty(), "{}", troubles.join("\n"));
        Ok(())
    })
}
