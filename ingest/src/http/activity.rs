//! Tracks what a connection is doing: the number of requests in flight, since when it has been
//! idle, and whether a body is still unread. hyper's own header timeout cannot tell a slow client
//! from a connection that is idle between two requests, and it costs one timer per request.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use crate::limits::Limits;

/// The activity of one connection.
#[derive(Debug)]
pub(super) struct ConnectionActivity {
    opened: Instant,
    requests: AtomicUsize,
    /// When the last request ended, in milliseconds after `opened`; 0 before the first request.
    idle_since: AtomicU64,
    /// Whether a part of the latest request's body has not been read.
    has_unread_body: AtomicBool,
}

/// Counts a request as in flight until it is dropped.
#[derive(Debug)]
pub(super) struct RequestGuard(Arc<ConnectionActivity>);

/// The body of a request; reading it to its end is noted in the activity of the connection.
#[derive(Debug)]
pub(super) struct TrackedBody {
    body: Incoming,
    activity: Arc<ConnectionActivity>,
}

// === impl ConnectionActivity ===

impl ConnectionActivity {
    /// The activity of a connection that was just opened.
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            has_unread_body: AtomicBool::new(false),
        }
    }

    /// Starts a request, which ends when the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, body: Incoming) -> (RequestGuard, TrackedBody) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.has_unread_body
            .store(!body.is_end_stream(), Ordering::Relaxed);
        let activity = Arc::clone(self);
        (
            RequestGuard(Arc::clone(self)),
            TrackedBody { body, activity },
        )
    }

    /// When to close the connection if nothing happens before.
    pub(super) fn deadline(&self, limits: &Limits) -> Instant {
        // On HTTP/2, requests end on other threads: a thread that sees the count at zero must also
        // see the time at which the last request ended.
        match (
            self.requests.load(Ordering::Acquire),
            self.idle_since.load(Ordering::Relaxed),
        ) {
            (0, 0) => self.opened + limits.header_timeout,
            (0, since) => self.opened + Duration::from_millis(since) + limits.idle_timeout,
            // A request in flight has time limits of its own.
            _ => Instant::now() + limits.idle_timeout,
        }
    }
}

// === impl RequestGuard ===

impl RequestGuard {
    /// Whether a part of the body was not read. Only meaningful for HTTP/1, which has one request
    /// at a time.
    pub(super) fn has_unread_body(&self) -> bool {
        self.0.has_unread_body.load(Ordering::Relaxed)
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let now = self.0.opened.elapsed().as_millis();
        self.0.idle_since.store(
            u64::try_from(now).unwrap_or(u64::MAX).max(1),
            Ordering::Relaxed,
        );
        self.0.requests.fetch_sub(1, Ordering::Release);
    }
}

// === impl TrackedBody ===

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.activity
                .has_unread_body
                .store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
