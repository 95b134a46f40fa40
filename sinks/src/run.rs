//! Runs sinks of every kind side by side.

use std::{sync::Arc, time::Duration};

use formline_core::{App, Producer, Shutdown, app::Sink, kafka::producer::ProducerOptions};

use crate::{
    engine::{
        context::{Flushed, SinkContext, Work},
        dead_letter_queue::DeadLetterQueue,
        metrics::MetricFamilies,
        options::Options,
        retrying_producer::RetryingProducer,
    },
    error::Error,
    kinds,
    redis::Redis,
};

/// A sink with the app that declares it: the stages before it in the app decide what it waits for.
pub type Placed = (Arc<App>, Arc<Sink>);

/// For dead letters, journals and deferred records. A record that is not acknowledged in time is
/// sent again.
const PRODUCER: ProducerOptions = ProducerOptions {
    delivery_timeout: Duration::from_secs(10),
    queue_messages: 1_000,
    queue_kib: 16 << 10,
};

/// Runs sinks until the shutdown begins. Each is a task of its own: one that must stop reports it
/// in the log and in its health, and the others continue.
///
/// # Errors
/// Only for what is wrong before anything starts: a missing or damaged address or key, the id of a
/// spreadsheet, a property of the Kafka clients.
pub async fn run(options: Options, sinks: Vec<Placed>, shutdown: Shutdown) -> Result<(), Error> {
    let contexts = contexts(&options, sinks, &shutdown)?;
    let works = kinds::open(&options, contexts).await?;
    let tasks: Vec<_> = works
        .into_iter()
        .map(|(context, work)| start(&context, work))
        .collect();
    for task in tasks {
        task.await.expect("a sink does not panic");
    }
    Ok(())
}

/// Writes the rows that wait in Redis and are due, for all sinks at once, and ends: after
/// `patience` at the latest, or when the shutdown begins. The sinks themselves, and other flushes,
/// may run at the same time.
///
/// # Errors
/// As [`run`]; if a sink keeps its rows in memory.
pub async fn flush(
    options: Options,
    sinks: Vec<Placed>,
    shutdown: Shutdown,
    patience: Duration,
) -> Result<Vec<Flushed>, Error> {
    let contexts = contexts(&options, sinks, &shutdown)?;
    kinds::flush(&options, contexts, patience).await
}

fn contexts(
    options: &Options,
    sinks: Vec<Placed>,
    shutdown: &Shutdown,
) -> Result<Vec<SinkContext>, Error> {
    options.check(&sinks)?;
    let families = MetricFamilies::register(&options.telemetry);
    let producer = Arc::new(Producer::open(&options.client, PRODUCER)?);
    let redis = (options.redis.as_ref())
        .map(|settings| Redis::open(settings, shutdown, &options.telemetry))
        .transpose()?;
    let context = |(app, sink): Placed| {
        let health = (options.telemetry).startup_check(format!("sink {}/{}", sink.app, sink.name));
        let producer = RetryingProducer {
            producer: Arc::clone(&producer),
            shutdown: shutdown.clone(),
            health: health.clone(),
        };
        SinkContext {
            app,
            client: options.client.clone(),
            member: options.instance.clone(),
            dead_letters: DeadLetterQueue {
                sink: Arc::clone(&sink),
                producer,
                metrics: families.of(&sink),
            },
            redis: redis.clone(),
            shutdown: shutdown.clone(),
            health,
            sink,
        }
    };
    Ok(sinks.into_iter().map(context).collect())
}

fn start(context: &SinkContext, work: Work) -> tokio::task::JoinHandle<()> {
    let health = context.health.clone();
    // The process is ready without it: the destination may be unavailable, and records wait in
    // Kafka.
    health.ready();
    health.waiting("joining the consumer group");
    let sink = context.sink.group();
    context.shutdown.spawn(async move {
        if let Err(error) = work.await {
            tracing::error!(sink, %error, "the sink has stopped");
            health.waiting(format!("stopped: {error}"));
        }
    })
}

// === impl Options ===

impl Options {
    /// Checks that the installation provides what these sinks need.
    ///
    /// # Errors
    /// Which setting is missing.
    pub fn check(&self, sinks: &[Placed]) -> Result<(), Error> {
        for (_, sink) in sinks {
            kinds::of(&sink.kind).require(sink, self)?;
        }
        Ok(())
    }
}
