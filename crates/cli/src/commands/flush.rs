//! `formline flush`: writes the rows that are buffered in Redis to their sheets, and exits.

use anyhow::{Result, ensure};
use formline_core::{Shutdown, Telemetry};
use formline_sinks::Flushed;
use serde_json::json;

use super::sink;
use crate::{
    arguments::FlushArgs,
    installation::{load_settings_and_apps, select},
    process,
};

pub(super) fn run(arguments: &FlushArgs) -> Result<()> {
    let (settings, apps) = load_settings_and_apps(&arguments.folders, &arguments.kafka)?;
    let sinks = select(sink::all(&apps), &arguments.sinks, "sink", |(app, sink)| {
        (&app.name, &sink.name)
    })?;
    let names: Vec<_> = sinks
        .iter()
        .map(|(app, sink)| format!("{}/{}", app.name, sink.name))
        .collect();
    let client = settings.client();
    let google = sink::google(&arguments.sheets, &settings);
    let options = sink::options(&settings, client, google, Telemetry::new());
    process::block_on(async {
        let shutdown = Shutdown::on_signals()?;
        let flushed = formline_sinks::flush(options, sinks, shutdown, arguments.timeout).await?;
        let mut errors = Vec::new();
        for (sink, Flushed { rows, trouble }) in names.iter().zip(flushed) {
            let error = trouble.map(|error| error.to_string());
            if arguments.output.json {
                println!("{}", json!({ "sink": sink, "rows": rows, "error": error }));
            } else {
                println!("{sink}: {rows} rows written");
            }
            errors.extend(error.map(|error| format!("{sink}: {error}")));
        }
        ensure!(errors.is_empty(), "{}", errors.join("\n"));
        Ok(())
    })
}
