//! Runs sinks of every kind side by side.

use std::{sync::Arc, time::Duration};

use formline_core::{
    App, Client, Producer, Shutdown, Telemetry,
    app::{Buffer, Sheets, Sink, SinkKind},
    producer,
    settings::{self, Secret, Smtp},
    telemetry::Part,
};
use futures::future::BoxFuture;
use ipnet::IpNet;

use crate::{
    Error, email, metrics, outbox::Outbox, parking::Parking, postgres, redis::Redis, sheets,
    webhook,
};

/// What all sinks of a process share.
#[derive(Debug)]
pub struct Options {
    /// How to reach Kafka.
    pub client: Client,
    /// This process's name in consumer groups, kept over restarts.
    pub instance: String,
    /// Which Google sheets sinks write to.
    pub google: Option<sheets::Google>,
    /// How often they may read, and write, in any one minute: all processes together if there is a Redis.
    pub google_calls_per_minute: u32,
    /// Address of the PostgreSQL that postgres sinks write to.
    pub postgres_url: Option<Secret>,
    /// The server that takes the mails of email sinks.
    pub smtp: Option<Smtp>,
    /// Networks that webhook sinks may call although they are not public.
    pub webhook_private_addresses: Vec<IpNet>,
    /// The Redis that sheets sinks buffer in, and that processes share Google's budget by.
    pub redis: Option<settings::Redis>,
    /// Where metrics and health go.
    pub telemetry: Telemetry,
}

/// A sink with the app that it belongs to: what lies before it in the app decides what it waits for.
pub type Placed = (Arc<App>, Arc<Sink>);

/// What the task of one sink works with, whatever its kind.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) app: Arc<App>,
    pub(crate) sink: Arc<Sink>,
    pub(crate) client: Client,
    /// Name of this process in the group.
    pub(crate) member: String,
    pub(crate) parking: Parking,
    pub(crate) redis: Option<Redis>,
    pub(crate) shutdown: Shutdown,
    pub(crate) part: Part,
}

/// The work of one sink, until the shutdown begins or a person must act.
pub(crate) type Work = BoxFuture<'static, Result<(), Error>>;

/// For dead letters, journals and what is put off. One that is not acknowledged in time is sent again.
const PRODUCER: producer::Options = producer::Options {
    delivery_timeout: Duration::from_secs(10),
    queue_messages: 1_000,
    queue_kib: 16 << 10,
};

/// Runs sinks, each with the app that declares it, until the shutdown begins. Each is a task of its own: one that must
/// stop says so in the log and in its health, and the others go on.
///
/// # Errors
/// Only for what is wrong before anything starts: an address or key that is missing or damaged, the id of a
/// spreadsheet, a property of Kafka's clients.
pub async fn run(options: Options, sinks: Vec<Placed>, shutdown: Shutdown) -> Result<(), Error> {
    let (mut to_sheets, mut to_postgres) = (Vec::new(), Vec::new());
    let (mut by_email, mut by_call) = (Vec::new(), Vec::new());
    for common in commons(&options, sinks, &shutdown)? {
        match common.sink.kind.clone() {
            SinkKind::Sheets(settings) => to_sheets.push((common, settings)),
            SinkKind::Postgres(settings) => to_postgres.push((common, settings)),
            SinkKind::Email(settings) => by_email.push((common, settings)),
            SinkKind::Webhook(settings) => by_call.push((common, settings)),
        }
    }
    let mut works = Vec::new();
    if let Some(google) = options.google.filter(|_| !to_sheets.is_empty()) {
        let calls = options.google_calls_per_minute;
        works.extend(sheets::open(&google, calls, &options.telemetry, to_sheets).await?);
    }
    if let Some(url) = options.postgres_url.filter(|_| !to_postgres.is_empty()) {
        works.extend(postgres::open(&url, &options.telemetry, to_postgres)?);
    }
    if let Some(smtp) = options.smtp.filter(|_| !by_email.is_empty()) {
        works.extend(email::open(&smtp, &options.telemetry, by_email)?);
    }
    let networks = &options.webhook_private_addresses;
    works.extend(webhook::open(networks, &options.telemetry, by_call)?);
    let tasks: Vec<_> = works
        .into_iter()
        .map(|(common, work)| start(&common, work))
        .collect();
    for task in tasks {
        task.await.expect("a sink does not panic");
    }
    Ok(())
}

/// What each of these sinks works with.
fn commons(
    options: &Options,
    sinks: Vec<Placed>,
    shutdown: &Shutdown,
) -> Result<Vec<Common>, Error> {
    options.check(&sinks)?;
    let metrics = metrics::All::register(&options.telemetry);
    let producer = Arc::new(Producer::open(&options.client, PRODUCER)?);
    let redis = (options.redis.as_ref())
        .map(|place| Redis::open(place, shutdown, &options.telemetry))
        .transpose()?;
    let common = |(app, sink): Placed| {
        let part = (options.telemetry).part(format!("sink {}/{}", sink.app, sink.name));
        let outbox = Outbox {
            producer: Arc::clone(&producer),
            shutdown: shutdown.clone(),
            part: part.clone(),
        };
        Common {
            app,
            client: options.client.clone(),
            member: options.instance.clone(),
            parking: Parking {
                sink: Arc::clone(&sink),
                outbox,
                metrics: metrics.of(&sink),
            },
            redis: redis.clone(),
            shutdown: shutdown.clone(),
            part,
            sink,
        }
    };
    Ok(sinks.into_iter().map(common).collect())
}

/// What a flush has done for one sink.
#[derive(Debug)]
pub struct Flushed {
    /// Rows that it has written.
    pub rows: usize,
    /// Why it has ended before all that was due was written: Google takes no row, somebody did not answer in time, or a
    /// person must act. The others are still there.
    pub trouble: Option<Error>,
}

/// Writes the rows that wait in Redis and are due, for all sinks at once, and ends: after `patience` at the latest, or when
/// the shutdown begins. Sinks may run meanwhile, and other flushes.
///
/// # Errors
/// As [`run`]; if a sink keeps its rows in memory.
pub async fn flush(
    options: Options,
    sinks: Vec<Placed>,
    shutdown: Shutdown,
    patience: Duration,
) -> Result<Vec<Flushed>, Error> {
    let commons = commons(&options, sinks, &shutdown)?;
    let google = options.google.ok_or(Error::NoGoogle)?;
    let mut sinks = Vec::with_capacity(commons.len());
    for common in commons {
        match common.sink.kind.clone() {
            SinkKind::Sheets(settings) if settings.buffer != Buffer::Memory => {
                sinks.push((common, settings));
            }
            SinkKind::Sheets(_)
            | SinkKind::Postgres(_)
            | SinkKind::Email(_)
            | SinkKind::Webhook(_) => {
                return Err(Error::NothingToFlush(common.sink.name.clone()));
            }
        }
    }
    let calls = options.google_calls_per_minute;
    // Boxed: a future of futures of this depth is too much for the compiler.
    let telemetry = &options.telemetry;
    Box::pin(sheets::flush(&google, calls, telemetry, sinks, patience)).await
}

fn start(common: &Common, work: Work) -> tokio::task::JoinHandle<()> {
    let part = common.part.clone();
    // Nobody is to wait for it: what it writes to may be away, and records wait in Kafka.
    part.ready();
    part.waiting("joining the consumer group");
    let sink = common.sink.group();
    common.shutdown.spawn(async move {
        if let Err(error) = work.await {
            tracing::error!(sink, %error, "the sink has stopped");
            part.waiting(format!("stopped: {error}"));
        }
    })
}

// === impl Options ===

impl Options {
    /// Whether it is known where these sinks write to.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self, sinks: &[Placed]) -> Result<(), Error> {
        for (_, sink) in sinks {
            match &sink.kind {
                SinkKind::Sheets(_) if self.google.is_none() => return Err(Error::NoGoogle),
                SinkKind::Sheets(Sheets {
                    buffer: Buffer::Redis { .. },
                    ..
                }) if self.redis.is_none() => {
                    return Err(Error::NoRedis(format!("{}/{}", sink.app, sink.name)));
                }
                SinkKind::Postgres(_) if self.postgres_url.is_none() => {
                    return Err(Error::NoPostgres(format!("{}/{}", sink.app, sink.name)));
                }
                SinkKind::Email(_) if self.smtp.is_none() => {
                    return Err(Error::NoSmtp(format!("{}/{}", sink.app, sink.name)));
                }
                SinkKind::Sheets(_)
                | SinkKind::Postgres(_)
                | SinkKind::Email(_)
                | SinkKind::Webhook(_) => {}
            }
        }
        Ok(())
    }
}
