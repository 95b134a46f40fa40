//! `formline up`: everything in one process, from an empty machine to a row in a sheet.

use anyhow::Result;

use super::{Installation, ingest, process, sheets_emulator, sink, topics};
use crate::{
    arguments::Up,
    line::{self, Line, listen},
};

pub(super) fn run(arguments: &Up) -> Result<()> {
    let installation = Installation::load(&arguments.apps)?;
    line::block_on(start(arguments, installation))
}

async fn start(arguments: &Up, installation: Installation) -> Result<()> {
    let line = Line::begin(arguments.admin.admin, installation.settings.grace).await?;
    let http = listen(arguments.http.http, "--http").await?;
    let google = match &installation.settings.google_credentials {
        Some(key_file) => sink::service_account(key_file),
        None => {
            let address = arguments.sheets.listen_on();
            let listener = listen(address, "--sheets").await?;
            sheets_emulator::add(&line, listener, &installation.data)?;
            sink::emulator(address)
        }
    };
    let sinks = sink::all(&installation.apps);
    let to = sink::options(&line, &installation, Some(google));
    to.check(&sinks)?;
    // First of all: while Kafka is away a client gets its 503 and does not wait in the backlog.
    ingest::add(&line, http, &installation);
    let applied = topics::apply_when_kafka_answers(&installation.client, &installation.apps);
    if line.unless_stopped(applied).await?.is_none() {
        return line.run().await;
    }
    process::add(&line, &installation, process::all(&installation.apps));
    sink::add(&line, to, sinks);
    greet(arguments, &installation);
    line.run().await
}

/// What is listening and what to try first.
fn greet(arguments: &Up, installation: &Installation) {
    let (http, sheets) = (arguments.http.http, arguments.sheets.listen_on());
    println!("formline is up");
    for form in installation.apps.iter().flat_map(|app| &app.forms) {
        println!("  form     http://{http}{}", form.path);
    }
    match &installation.settings.google_credentials {
        Some(_) => println!("  sheets   Google"),
        None => println!("  sheets   http://{sheets}/ (emulator, no Google credentials given)"),
    }
    println!(
        "  health   http://{}/readyz and /metrics",
        arguments.admin.admin
    );
    println!("  kafka    {}", installation.settings.bootstrap);
    println!("open a form in a browser, send it, and look at the sheet; Ctrl-C stops");
}
