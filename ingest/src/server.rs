//! Puts the service together and runs it until the process stops.

use std::sync::{Arc, OnceLock, atomic::AtomicUsize};

use axum::Router;
use formline_core::{App, Client, Producer, Shutdown, Telemetry, app::Form, client, producer};
use tokio::{net::TcpListener, time::sleep};

use crate::{
    connections::Connections,
    endpoint::Endpoint,
    keys::Keys,
    limits::Limits,
    metrics::Metrics,
    rate::FORGET_INTERVAL,
    routes,
    sender::{Failure, Sender},
    service::Service,
    window,
};

/// What ingest needs to run.
#[derive(Debug)]
pub struct Options {
    /// Where it listens.
    pub listener: TcpListener,
    /// Apps whose forms it serves, checked together by `formline_core::app::load`.
    pub apps: Vec<Arc<App>>,
    /// How to reach Kafka.
    pub client: Client,
    /// Bounds of the service.
    pub limits: Limits,
    /// Where it reports.
    pub telemetry: Telemetry,
}

/// Why ingest stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The producer cannot be made. Stop: only the operator can mend it.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The producer is unusable. Stop, and start the process again.
    #[error("{0}")]
    Producer(String),
}

/// Serves all forms until the shutdown begins, then finishes the requests in work.
///
/// It takes submissions at once. The part `ingest` is ready as soon as the idempotency keys of the window have been read
/// from the log; until then a submission with a key is answered 503.
pub async fn serve(options: Options, shutdown: Shutdown) -> Result<(), Error> {
    let Options {
        listener,
        apps,
        client,
        limits,
        telemetry,
    } = options;
    let producer = Arc::new(Producer::open(&client, producer_options(&limits))?);
    let part = telemetry.entrance("ingest");
    part.waiting("reading the window of idempotency keys");
    let failure = Failure {
        part,
        stop: shutdown.token().child_token(),
        reason: OnceLock::new(),
    };
    let keys = Arc::new(Keys::default());
    let sender = Arc::new(Sender {
        producer,
        keys: Arc::clone(&keys),
        shutdown: shutdown.clone(),
        failure,
    });
    let stop = &sender.failure.stop;
    let (endpoints, service) = prepare(&apps, limits, &telemetry, &sender);
    let connections = Connections::new(Arc::new(service), limits);
    let get_ready = async {
        window::read(&apps, &client, &keys, &shutdown, stop).await;
        if !stop.is_cancelled() {
            sender.failure.part.ready();
        }
        forget_idle_clients(&endpoints).await;
    };
    tokio::select! {
        _ = connections.accept(&listener) => {}
        () = get_ready => {}
        () = stop.cancelled() => {}
    }
    // Closed, so that the kernel refuses clients instead of letting them wait.
    drop(listener);
    finish(connections, &limits, &sender, &shutdown).await
}

async fn finish(
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
    flushed.expect("flushing does not panic");
    match sender.failure.reason.get() {
        Some(reason) => Err(Error::Producer(reason.clone())),
        None => Ok(()),
    }
}

fn producer_options(limits: &Limits) -> producer::Options {
    producer::Options {
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
    let mut metrics = Metrics::new(telemetry, &sender.producer);
    let mut endpoint = |form: &Arc<Form>| {
        let outcomes = metrics.add_form(&form.name, routes::submission_paths(form));
        (
            Arc::clone(form),
            Endpoint::new(form, outcomes, limits, Arc::clone(sender)),
        )
    };
    let forms: Vec<_> = apps
        .iter()
        .flat_map(|app| &app.forms)
        .map(&mut endpoint)
        .collect();
    let router: Router = routes::router(&forms);
    let in_flight = Arc::new(AtomicUsize::new(0));
    Metrics::show_in_flight(telemetry, Arc::clone(&in_flight));
    let endpoints = forms.into_iter().map(|(_, endpoint)| endpoint).collect();
    (endpoints, Service::new(router, metrics, limits, in_flight))
}

/// Keeps the memory of rate limits small. Never ends.
async fn forget_idle_clients(endpoints: &[Arc<Endpoint>]) {
    loop {
        sleep(FORGET_INTERVAL).await;
        endpoints
            .iter()
            .for_each(|endpoint| endpoint.rate().forget_idle());
    }
}
