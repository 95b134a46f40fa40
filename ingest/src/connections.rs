//! Accepts connections, speaks HTTP/1.1 and HTTP/2 (by prior knowledge) on them, and closes those that only cost.
//!
//! What hyper itself refuses does not reach `problem`: a request that is not HTTP gets a bare 400, more than 100 headers
//! or 64 KiB of them a bare 431, and the connection is closed.

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

use crate::{limits::Limits, lingering::Lingering, pulse::Pulse, service::Service};

/// All connections of the service.
pub(crate) struct Connections {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

struct Shared {
    service: Arc<Service>,
    protocol: auto::Builder<TokioExecutor>,
    limits: Limits,
    /// Cancelled when each connection is to end with the request in hand.
    drain: CancellationToken,
    /// Cancelled when the grace period is over.
    cut: CancellationToken,
}

/// HTTP/1 headers and the buffer for them.
const HTTP1_BUFFER: usize = 64 << 10;
/// The same for HTTP/2.
const HTTP2_HEADERS: u32 = 64 << 10;
/// Requests at one time on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 128;
/// A peer that is gone without a word is found after these two.
const HTTP2_PING: Duration = Duration::from_secs(20);
const HTTP2_PONG: Duration = Duration::from_secs(10);

// === impl Connections ===

impl Connections {
    /// Nothing is accepted yet.
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
                cut: CancellationToken::new(),
            }),
            places: Arc::new(Semaphore::new(limits.connections)),
            tasks: TaskTracker::new(),
        }
    }

    /// Accepts until it is dropped.
    pub(crate) async fn accept(&self, listener: &TcpListener) -> Infallible {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            // First the place, then the connection: a client that waits is cheaper in the kernel than here.
            let place = Arc::clone(&self.places)
                .acquire_owned()
                .await
                .expect("it is never closed");
            match listener.accept().await {
                Ok((stream, peer)) => {
                    backoff.reset();
                    let shared = Arc::clone(&self.shared);
                    self.tasks.spawn(shared.run(stream, peer, place));
                }
                Err(error) if is_of_the_client(error.kind()) => {}
                // Such as too many open files: trying again at once would only burn the processor.
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(backoff.delay()).await;
                }
            }
        }
    }

    /// Lets requests in work finish, and cuts them off after `grace`.
    pub(crate) async fn drain(self, grace: Duration) {
        // The kernel may hold requests that were sent before this moment: connections get a turn to read them.
        yield_now().await;
        self.shared.drain.cancel();
        self.tasks.close();
        if timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!("connections were cut off at the end of the grace period");
        }
        self.shared.cut.cancel();
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections")
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

fn is_of_the_client(kind: ErrorKind) -> bool {
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
        _place: OwnedSemaphorePermit,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the connection is gone already");
            return;
        }
        let pulse = Arc::new(Pulse::new());
        let answer = service_fn(|request| self.answer(&pulse, request, peer));
        let connection = self
            .protocol
            .serve_connection(TokioIo::new(Lingering::new(stream)), answer);
        let mut connection = std::pin::pin!(connection);
        let mut is_draining = false;
        loop {
            tokio::select! {
                // In this order: on a busy machine a request may have come long before this task runs again, and the
                // time limit with it. The request counts.
                biased;
                ended = &mut connection => {
                    // Clients break off and send rubbish all day long: nothing for an operator to act on.
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection broke");
                    }
                    return;
                }
                () = self.drain.cancelled(), if !is_draining => {}
                () = sleep_until(pulse.end(&self.limits)) => {}
                () = self.cut.cancelled() => return,
            }
            if pulse.end(&self.limits) <= Instant::now() {
                return;
            }
            if self.drain.is_cancelled() && !is_draining {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }

    /// Answers one request of a connection.
    fn answer(
        &self,
        pulse: &Arc<Pulse>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        let service = Arc::clone(&self.service);
        let is_http1 = request.version() <= Version::HTTP_11;
        let (parts, body) = request.into_parts();
        let (beat, body) = pulse.begin(body);
        async move {
            let mut response = service.answer(Request::from_parts(parts, body), peer).await;
            if is_http1 && beat.body_is_left() {
                // hyper closes the connection then, but without saying so: a client that took it for open would send
                // its next request into the void (RFC 9112, 9.6).
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(response)
        }
    }
}
