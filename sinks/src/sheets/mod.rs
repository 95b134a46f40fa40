//! Rows to Google Sheets: exactly one row per submission, in order of submission, whatever crashes.
//!
//! The sheet is the transaction log: rows and the mark of how far they go are one atomic write (`mark`, `batch`).
//! Kafka is the source: after a crash the mark says where to read on. `plan` decides what is written when, `delivery`
//! settles writes whose outcome is unknown, `kafka` knows when no earlier submission can come any more.
//!
//! Rows are keyed by form, so a tab has one owner. A tab that takes several forms may get several, one per process: then
//! each row still stands once, but what one owner writes after a later row of another is flagged late.

mod batch;
mod buffer;
mod delivery;
mod google;
mod kafka;
mod mark;
mod metrics;
mod offsets;
mod plan;
mod quota;
mod request;
mod row;
mod session;
#[cfg(test)]
mod simulation;
mod worker;

use std::{sync::Arc, time::Duration};

use formline_core::{
    App, Client, Producer, Shutdown, Telemetry,
    app::{Sink, SinkKind, is_spreadsheet_id},
    producer,
};

pub use self::google::Google;
use self::{
    delivery::{Quotas, Tab},
    google::Api,
    kafka::Upstream,
    quota::Quota,
    worker::Worker,
};
use crate::Error;

/// What all sheets sinks of a process share.
#[derive(Debug)]
pub struct Options {
    /// How to reach Kafka.
    pub client: Client,
    /// This process's name in consumer groups, kept over restarts.
    pub instance: String,
    /// Which Google to write to.
    pub google: Google,
    /// Where metrics and health go.
    pub telemetry: Telemetry,
}

/// For dead letters. One that is not acknowledged in time is sent again.
const PRODUCER: producer::Options = producer::Options {
    delivery_timeout: Duration::from_secs(10),
    queue_messages: 1_000,
    queue_kib: 16 << 10,
};

/// Runs sheets sinks, each with the app that declares it, until the shutdown begins. Each is a task of its own: one
/// that must stop says so in the log and in its health, and the others go on.
///
/// # Errors
/// Only for what is wrong before anything starts: the key, the id of a spreadsheet, a property of Kafka's clients.
pub async fn run(
    options: Options,
    sinks: Vec<(Arc<App>, Arc<Sink>)>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let Options {
        client,
        instance,
        google,
        telemetry,
    } = options;
    let api = Api::open(&google).await?;
    let producer = Arc::new(Producer::open(&client, PRODUCER)?);
    let quotas = Arc::new(Quotas {
        writes: Quota::new(),
        reads: Quota::new(),
    });
    let metrics = metrics::All::register(&telemetry);
    let mut tasks = Vec::with_capacity(sinks.len());
    for (app, sink) in sinks {
        let SinkKind::Sheets(settings) = &sink.kind;
        check_spreadsheet(&settings.spreadsheet)?;
        let tab = Tab {
            sink: sink.group(),
            spreadsheet: settings.spreadsheet.clone(),
            title: settings.tab.clone(),
            api: api.clone(),
            quotas: Arc::clone(&quotas),
            metrics: metrics.of(&sink),
        };
        let upstream = Upstream::open(&client, &app, &sink)?;
        tasks.push(Worker {
            settings: settings.clone(),
            tab,
            upstream,
            producer: Arc::clone(&producer),
            client: client.clone(),
            member: instance.clone(),
            shutdown: shutdown.clone(),
            part: telemetry.part(format!("sink {}/{}", sink.app, sink.name)),
            sink,
        });
    }
    let tasks: Vec<_> = tasks
        .into_iter()
        .map(|task| start(task, &shutdown))
        .collect();
    for task in tasks {
        task.await.expect("a sink does not panic");
    }
    Ok(())
}

fn start(worker: Worker, shutdown: &Shutdown) -> tokio::task::JoinHandle<()> {
    let part = worker.part.clone();
    // Nobody is to wait for it: Google may be away, and rows wait in Kafka.
    part.ready();
    part.waiting("joining the consumer group");
    let sink = worker.tab.sink.clone();
    shutdown.spawn(async move {
        if let Err(error) = worker.run().await {
            tracing::error!(sink, %error, "the sink has stopped");
            part.waiting(format!("stopped: {error}"));
        }
    })
}

/// The crate google-sheets4 puts the id into the address as it is, and not every app comes from a checked file.
fn check_spreadsheet(id: &str) -> Result<(), Error> {
    if is_spreadsheet_id(id) {
        return Ok(());
    }
    Err(Error::SpreadsheetId(id.to_owned()))
}
