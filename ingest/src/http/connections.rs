//! Accepts connections, serves HTTP/1.1 and HTTP/2 (with prior knowledge) on them, and closes idle
//! and stalled ones.
//!
//! hyper itself rejects some requests, without a problem document: it responds to a request that is
//! not HTTP with an empty 400, to more than 100 headers or 64 KiB of them with an empty 431, and
//! closes the connection.

use std::{
    convert::Infallible, future::Future, io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration,
};

use axum::{
    http::{HeaderValue, Version, header},
    response::Response,
};
use formline_core::retry::Backoff;
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{activity::ConnectionActivity, lingering_close::LingeringClose, service::Service};
use crate::limits::Limits;

/// All connections of the service.
pub(crate) struct Connections {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

struct Shared {
    service: Arc<Service>,
    protocol: auto::Builder<TokioExecutor>,
    limits: Limits,
    /// Cancelled when each connection must end after its current request.
    drain: CancellationToken,
    /// Cancelled when the grace period is over.
    abort: CancellationToken,
}

/// Maximum size of HTTP/1 headers, and size of the read buffer, in bytes.
const HTTP1_BUFFER: usize = 64 << 10;
/// Maximum size of HTTP/2 headers in bytes.
const HTTP2_HEADERS: u32 = 64 << 10;
/// Maximum number of concurrent requests on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 128;
/// How often an HTTP/2 connection is checked with a ping.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// How long to wait for the response to a ping before the connection counts as lost.
const HTTP2_PONG: Duration = Duration::from_secs(10);

// === impl Connections ===

impl Connections {
    /// Prepares the service without accepting connections.
    pub(crate) fn new(service: Arc<Service>, limits: Limits) -> Self {
        let mut protocol = auto::Builder::new(TokioExecutor::new());
        protocol.http1().max_buf_size(HTTP1_BUFFER);
        protocol
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_header_list_size(HTTP2_HEADERS)
            .keep_alive_interval(HTTP2_PING)
            .keep_alive_timeout(HTTP2_PONG);
        Self {
            shared: Arc::new(Shared {
                service,
                protocol,
                limits,
                drain: CancellationToken::new(),
                abort: CancellationToken::new(),
            }),
            permits: Arc::new(Semaphore::new(limits.connections)),
            tasks: TaskTracker::new(),
        }
    }

    /// Accepts connections until the future is dropped.
    pub(crate) async fn accept(&self, listener: &TcpListener) -> Infallible {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            // Take the permit before accepting: a client that waits costs less in the kernel than
            // in the process.
            let permit = Arc::clone(&self.permits)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, peer)) => {
                    backoff.reset();
                    let shared = Arc::clone(&self.shared);
                    self.tasks.spawn(shared.run(stream, peer, permit));
                }
                Err(error) if is_caused_by_client(error.kind()) => {}
                // For instance too many open files: an immediate retry would only waste CPU time.
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    sleep(backoff.delay()).await;
                }
            }
        }
    }

    /// Lets requests in flight finish, and aborts those that remain after `grace`.
    pub(crate) async fn drain(self, grace: Duration) {
        // The kernel may hold requests that were sent before the drain: let connections read them
        // first.
        yield_now().await;
        self.shared.drain.cancel();
        self.tasks.close();
        if timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!("aborted the connections that were open at the end of the grace period");
        }
        self.shared.abort.cancel();
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections")
            .field("permits", &self.permits)
            .finish_non_exhaustive()
    }
}

fn is_caused_by_client(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}

// === impl Shared ===

impl Shared {
    async fn run(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        _permit: OwnedSemaphorePermit,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the client closed the connection");
            return;
        }
        let activity = Arc::new(ConnectionActivity::new());
        let handler = service_fn(|request| self.handle(&activity, request, peer));
        let connection = self
            .protocol
            .serve_connection(TokioIo::new(LingeringClose::new(stream)), handler);
        let mut connection = std::pin::pin!(connection);
        let mut is_draining = false;
        loop {
            tokio::select! {
                // The connection comes first: on a busy machine, a request and the deadline may
                // both be ready when this task runs again, and the request arrived in time.
                biased;
                ended = &mut connection => {
                    // Clients disconnect and send invalid requests all the time: operators need not
                    // act.
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection failed");
                    }
                    return;
                }
                () = self.drain.cancelled(), if !is_draining => {}
                () = sleep_until(activity.deadline(&self.limits)) => {}
                () = self.abort.cancelled() => return,
            }
            if activity.deadline(&self.limits) <= Instant::now() {
                return;
            }
            if self.drain.is_cancelled() && !is_draining {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }

    /// Handles one request of a connection.
    fn handle(
        &self,
        activity: &Arc<ConnectionActivity>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        let service = Arc::clone(&self.service);
        let is_http1 = request.version() <= Version::HTTP_11;
        let (parts, body) = request.into_parts();
        let (guard, body) = activity.begin(body);
        async move {
            let mut response = service.handle(Request::from_parts(parts, body), peer).await;
            if is_http1 && guard.has_unread_body() {
                // hyper closes the connection in this case, but does not announce it: the client
                // would send its next request on a closed connection (RFC 9112, 9.6).
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(response)
        }
    }
}
