//! Accepts connections, speaks HTTP/1.1 and HTTP/2 (by prior knowledge) on them, and closes those that only cost.
//!
//! What hyper itself refuses does not reach `problem`: a request that is not HTTP gets a bare 400, more than 100 headers
//! or 64 KiB of them a bare 431, and the connection is closed.

use std::{
    convert::Infallible,
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use formline_core::retry::Backoff;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{limits::Limits, lingering::Lingering, service::Service};

/// All connections of the service.
pub(crate) struct Connections {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

struct Shared {
    service: Arc<Service>,
    protocol: auto::Builder<TokioExecutor>,
    limits: Limits,
    /// Cancelled when the grace period is over.
    cut: CancellationToken,
}

/// When a connection last did something. hyper's own time limit for headers cannot tell a client that dawdles from a
/// connection that rests between two requests, and takes a timer per request.
struct Pulse {
    opened: Instant,
    requests: AtomicUsize,
    /// End of the last request in milliseconds after `opened`; 0 before the first.
    rests_since: AtomicU64,
}

/// A request in work.
struct Beat(Arc<Pulse>);

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
                cut: CancellationToken::new(),
            }),
            places: Arc::new(Semaphore::new(limits.connections)),
            graceful: GracefulShutdown::new(),
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
                    tokio::spawn(shared.run(stream, peer, self.graceful.watcher(), place));
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
        if timeout(grace, self.graceful.shutdown()).await.is_err() {
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
        watcher: Watcher,
        _place: OwnedSemaphorePermit,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the connection is gone already");
            return;
        }
        let pulse = Arc::new(Pulse::new());
        let answer = service_fn(|request| {
            let (service, beat) = (Arc::clone(&self.service), Pulse::begin(&pulse));
            async move {
                let response = service.answer(request, peer).await;
                drop(beat);
                Ok::<_, Infallible>(response)
            }
        });
        let connection = self
            .protocol
            .serve_connection(TokioIo::new(Lingering::new(stream)), answer);
        let mut connection = std::pin::pin!(watcher.watch(connection));
        loop {
            tokio::select! {
                ended = &mut connection => {
                    // Clients break off and send rubbish all day long: nothing for an operator to act on.
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection broke");
                    }
                    return;
                }
                () = sleep_until(pulse.end(&self.limits)) => {}
                () = self.cut.cancelled() => return,
            }
            if pulse.end(&self.limits) <= Instant::now() {
                return;
            }
        }
    }
}

// === impl Pulse ===

impl Pulse {
    fn new() -> Self {
        Self {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            rests_since: AtomicU64::new(0),
        }
    }

    fn begin(pulse: &Arc<Self>) -> Beat {
        pulse.requests.fetch_add(1, Ordering::Relaxed);
        Beat(Arc::clone(pulse))
    }

    /// When to close the connection if nothing happens until then.
    fn end(&self, limits: &Limits) -> Instant {
        match (
            self.requests.load(Ordering::Relaxed),
            self.rests_since.load(Ordering::Relaxed),
        ) {
            (0, 0) => self.opened + limits.header_timeout,
            (0, since) => self.opened + Duration::from_millis(since) + limits.idle_timeout,
            // A request has time limits of its own.
            _ => Instant::now() + limits.idle_timeout,
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        let now = self.0.opened.elapsed().as_millis();
        self.0.rests_since.store(
            u64::try_from(now).unwrap_or(u64::MAX).max(1),
            Ordering::Relaxed,
        );
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
