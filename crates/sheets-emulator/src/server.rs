//! Connections: accepting, limits, time-outs, and the stop in three steps.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::api::{self, Api};
use super::page;
use super::refusal::Refusal;

/// More connections wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1_024;
/// Also ends idle connections; Google's front ends keep them about as long.
const HEADER_TIMEOUT: Duration = Duration::from_secs(240);
/// How long requests in hand may take once it is to stop.
const GRACE: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then stops taking, finishes what is in hand, and gives up after a while.
pub(super) async fn serve(api: Arc<Api>, listener: TcpListener, shutdown: CancellationToken) {
    let tasks = api.tasks.clone();
    let stop = api.stop.clone();
    let router = router(api);
    let (graceful, slots) = (
        GracefulShutdown::new(),
        Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    );
    while let Some(accepted) = shutdown
        .run_until_cancelled(accept(&listener, &slots))
        .await
    {
        let (stream, slot) = accepted;
        let connection = connection(stream, router.clone(), &graceful);
        tasks.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    stop.cancel(); // ends planned faults that are waiting
    tasks.close();
    let finished = async {
        graceful.shutdown().await;
        tasks.wait().await;
    };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        tracing::warn!("sheets emulator gave up on requests that did not finish");
    }
}

type Slot = tokio::sync::OwnedSemaphorePermit;

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, Slot) {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .expect("never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                // Out of file descriptors, mostly: waiting is the cure.
                tracing::warn!(%error, "sheets emulator cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection(
    stream: TcpStream,
    router: Router,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADER_TIMEOUT);
    let service = TowerToHyperService::new(router);
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    let watched = graceful.watch(connection);
    async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "sheets emulator connection ended");
        }
    }
}

fn router(api: Arc<Api>) -> Router {
    Router::new()
        .merge(api::routes())
        .merge(page::routes())
        .fallback(|| async { Refusal::not_found() })
        .method_not_allowed_fallback(|| async {
            Refusal::of_status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .with_state(api)
}
