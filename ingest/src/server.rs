//! Builds the service from its parts and runs it until the process stops.

use std::sync::{Arc, OnceLock, atomic::AtomicUsize};

use axum::Router;
use formline_core::{
    App, Client, Producer, Shutdown, Telemetry,
    app::Form,
    kafka::{client::ClientError, producer::ProducerOptions},
};
use tokio::{net::TcpListener, time::sleep};

use crate::{
    endpoint::Endpoint,
    http::{connections::Connections, rate::EVICTION_INTERVAL, service::Service},
    limits::Limits,
    metrics::Metrics,
    openapi::paths::submission_paths,
    router::router,
    submission::{
        idempotency::IdempotencyKeys,
        idempotency_restore,
        sender::{ProducerFailure, Sender},
    },
};

/// What ingest needs to run.
#[derive(Debug)]
pub struct Options {
    /// The socket on which it accepts connections.
    pub listener: TcpListener,
    /// The apps whose forms it serves, validated together by `formline_core::app::load`.
    pub apps: Vec<Arc<App>>,
    /// How to connect to Kafka.
    pub client: Client,
    /// Resource limits.
    pub limits: Limits,
    /// Receives metrics and readiness.
    pub telemetry: Telemetry,
}

/// Why ingest stopped without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The producer cannot be created. Stop: the configuration is wrong.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The producer has failed fatally. Stop, and restart the process.
    #[error("{0}")]
    Producer(String),
}

/// Serves all forms until the shutdown begins, then finishes the requests in flight.
///
/// It accepts submissions immediately. The part `ingest` becomes ready once the idempotency keys of
/// the window are restored from the log; until then, submissions with a key get 503.
///
/// # Errors
///
/// If the producer cannot be created, or fails fatally later.
pub async fn serve(options: Options, shutdown: Shutdown) -> Result<(), Error> {
    let Options {
        listener,
        apps,
        client,
        limits,
        telemetry,
    } = options;
    let producer = Arc::new(Producer::open(&client, producer_options(&limits))?);
    let part = telemetry.readiness_check("ingest");
    part.waiting("restoring idempotency keys");
    let failure = ProducerFailure {
        part,
        stop: shutdown.token().child_token(),
        reason: OnceLock::new(),
    };
    let keys = Arc::new(IdempotencyKeys::default());
    let sender = Arc::new(Sender {
        producer,
        keys: Arc::clone(&keys),
        shutdown: shutdown.clone(),
        failure,
    });
    let stop = &sender.failure.stop;
    let (endpoints, service) = prepare(&apps, limits, &telemetry, &sender);
    let connections = Connections::new(Arc::new(service), limits);
    let background = async {
        idempotency_restore::restore(&apps, &client, &keys, &shutdown, stop).await;
        if !stop.is_cancelled() {
            sender.failure.part.ready();
        }
        evict_idle_clients(&endpoints).await;
    };
    tokio::select! {
        _ = connections.accept(&listener) => {}
        () = background => {}
        () = stop.cancelled() => {}
    }
    // Close the socket, so that the kernel rejects clients instead of queueing them.
    drop(listener);
    drain(connections, &limits, &sender, &shutdown).await
}

async fn drain(
    connections: Connections,
    limits: &Limits,
    sender: &Arc<Sender>,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    if sender.failure.reason.get().is_none() {
        sender.failure.part.waiting("draining");
    }
    connections.drain(limits.grace).await;
    let (producer, limit) = (Arc::clone(&sender.producer), limits.delivery_timeout);
    let flushed = shutdown.spawn_blocking(move || producer.flush(limit)).await;
    flushed.expect("flush does not panic");
    match sender.failure.reason.get() {
        Some(reason) => Err(Error::Producer(reason.clone())),
        None => Ok(()),
    }
}

fn producer_options(limits: &Limits) -> ProducerOptions {
    ProducerOptions {
        delivery_timeout: limits.delivery_timeout,
        queue_messages: limits.queue_messages,
        queue_kib: limits.queue_kib,
    }
}

fn prepare(
    apps: &[Arc<App>],
    limits: Limits,
    telemetry: &Telemetry,
    sender: &Arc<Sender>,
) -> (Vec<Arc<Endpoint>>, Service) {
    let producer = Arc::clone(&sender.producer);
    let mut metrics = Metrics::new(telemetry, move || producer.in_flight());
    let mut endpoint = |form: &Arc<Form>| {
        let counters = metrics.add_form(&form.name, submission_paths(form));
        (
            Arc::clone(form),
            Endpoint::new(form, counters, limits, Arc::clone(sender)),
        )
    };
    let forms: Vec<_> = apps
        .iter()
        .flat_map(|app| &app.forms)
        .map(&mut endpoint)
        .collect();
    let router: Router = router(&forms);
    let in_flight = Arc::new(AtomicUsize::new(0));
    Metrics::register_in_flight(telemetry, Arc::clone(&in_flight));
    let endpoints = forms.into_iter().map(|(_, endpoint)| endpoint).collect();
    (endpoints, Service::new(router, metrics, limits, in_flight))
}

/// Bounds the memory of rate limits. Never returns.
async fn evict_idle_clients(endpoints: &[Arc<Endpoint>]) {
    loop {
        sleep(EVICTION_INTERVAL).await;
        endpoints
            .iter()
            .for_each(|endpoint| endpoint.rate_limits().evict_idle());
    }
}
