//! Accepts connections within limits of number and time, and stops gracefully.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api};
use crate::api_error::ApiError;
use crate::page;

/// Maximum number of connections; further ones wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 1_024;
/// Time to send headers. It also ends idle connections, which Google's front ends keep about as
/// long.
const HEADER_TIMEOUT: Duration = Duration::from_secs(240);
/// Time for requests in flight to finish after the stop.
const GRACE: Duration = Duration::from_secs(5);
/// Pause after a failure to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`. Then it stops accepting connections, lets requests in flight finish,
/// and aborts the rest after `GRACE`.
pub(crate) async fn serve(api: Arc<Api>, listener: TcpListener, shutdown: CancellationToken) {
    let tasks = api.tasks.clone();
    let stop = api.stop.clone();
    let router = router(api);
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Some(accepted) = shutdown
        .run_until_cancelled(accept(&listener, &permits))
        .await
    {
        let (stream, permit) = accepted;
        let connection = connection(stream, router.clone(), &graceful);
        tasks.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    // Ends planned faults that are waiting.
    stop.cancel();
    tasks.close();
    let finished = async {
        graceful.shutdown().await;
        tasks.wait().await;
    };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        tracing::warn!("sheets emulator aborted requests that did not finish in time");
    }
}

/// Accepts the next connection once a permit is available.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                // Usually there are too many open files, so retry after a pause.
                tracing::warn!(%error, "sheets emulator failed to accept a connection");
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
        .fallback(|| async { ApiError::not_found() })
        .method_not_allowed_fallback(|| async {
            ApiError::of_status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .with_state(api)
}
