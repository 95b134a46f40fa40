//! `formline up`: runs everything in one process.

use anyhow::Result;

use super::{ingest, process as steps, sheets_emulator, sink, topics};
use crate::{
    arguments::UpArgs,
    installation::Installation,
    process::{self, Process, listen},
};

pub(super) fn run(arguments: &UpArgs) -> Result<()> {
    let installation = Installation::load(&arguments.installation)?;
    process::block_on(start(arguments, installation))
}

async fn start(arguments: &UpArgs, installation: Installation) -> Result<()> {
    let Installation {
        settings, client, ..
    } = &installation;
    let process = Process::start(arguments.admin.admin, settings.grace).await?;
    let http = listen(arguments.http.http, "--http").await?;
    let google = match &settings.google_credentials {
        Some(key_file) => sink::service_account(key_file),
        None => {
            let address = arguments.sheets.listen_on();
            let listener = listen(address, "--sheets").await?;
            sheets_emulator::spawn(&process, listener, &installation.data)?;
            sink::emulator(address)
        }
    };
    let sinks = sink::all(&installation.apps);
    let telemetry = process.telemetry.clone();
    let options = sink::options(settings, client.clone(), Some(google), telemetry);
    options.check(&sinks)?;
    // Before the topics are applied: while Kafka is down, clients receive a 503 at once instead of
    // waiting in the backlog.
    ingest::spawn(&process, http, &installation);
    let applied = topics::apply_when_kafka_answers(client, &installation.apps);
    if process.unless_stopped(applied).await?.is_none() {
        return process.run().await;
    }
    steps::spawn(&process, &installation, steps::all(&installation.apps));
    sink::spawn(&process, options, sinks);
    print_addresses(arguments, &installation);
    process.run().await
}

/// Prints the addresses, and what to try first.
fn print_addresses(arguments: &UpArgs, installation: &Installation) {
    let (http, sheets) = (arguments.http.http, arguments.sheets.listen_on());
    println!("formline is up");
    for form in installation.apps.iter().flat_map(|app| &app.forms) {
        println!("  form     http://{http}{}", form.path);
    }
    match &installation.settings.google_credentials {
        Some(_) => println!("  sheets   Google"),
        None => {
            println!("  sheets   http://{sheets}/ (emulator; no Google credentials configured)");
        }
    }
    println!(
        "  health   http://{}/readyz and /metrics",
        arguments.admin.admin
    );
    println!("  kafka    {}", installation.settings.bootstrap);
    println!("open a form in a browser, submit it, and look at the sheet; Ctrl-C stops");
}
