//! What a connection is doing: how many requests are in work, since when it rests, and whether a body is still to be
//! read. hyper's own time limit for headers cannot tell a client that dawdles from a connection that rests between two
//! requests, and takes a timer per request.

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

/// When a connection last did something.
#[derive(Debug)]
pub(crate) struct Pulse {
    opened: Instant,
    requests: AtomicUsize,
    /// End of the last request in milliseconds after `opened`; 0 before the first.
    rests_since: AtomicU64,
    /// Whether the body of the latest request has not been read to its end.
    body_is_left: AtomicBool,
}

/// A request in work.
#[derive(Debug)]
pub(crate) struct Beat(Arc<Pulse>);

/// The body of a request in work.
#[derive(Debug)]
pub(crate) struct Inflow {
    body: Incoming,
    pulse: Arc<Pulse>,
}

// === impl Pulse ===

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            rests_since: AtomicU64::new(0),
            body_is_left: AtomicBool::new(false),
        }
    }

    /// A request begins. It ends when the beat is dropped.
    pub(crate) fn begin(self: &Arc<Self>, body: Incoming) -> (Beat, Inflow) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.body_is_left
            .store(!body.is_end_stream(), Ordering::Relaxed);
        let pulse = Arc::clone(self);
        (Beat(Arc::clone(self)), Inflow { body, pulse })
    }

    /// When to close the connection if nothing happens until then.
    pub(crate) fn end(&self, limits: &Limits) -> Instant {
        // On HTTP/2 requests end on other threads: who sees the last one gone must also see when it went.
        match (
            self.requests.load(Ordering::Acquire),
            self.rests_since.load(Ordering::Relaxed),
        ) {
            (0, 0) => self.opened + limits.header_timeout,
            (0, since) => self.opened + Duration::from_millis(since) + limits.idle_timeout,
            // A request has time limits of its own.
            _ => Instant::now() + limits.idle_timeout,
        }
    }
}

// === impl Beat ===

impl Beat {
    /// Whether a part of the body was not read. Meant for HTTP/1, with its one request at a time.
    pub(crate) fn body_is_left(&self) -> bool {
        self.0.body_is_left.load(Ordering::Relaxed)
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        let now = self.0.opened.elapsed().as_millis();
        self.0.rests_since.store(
            u64::try_from(now).unwrap_or(u64::MAX).max(1),
            Ordering::Relaxed,
        );
        self.0.requests.fetch_sub(1, Ordering::Release);
    }
}

// === impl Inflow ===

impl Body for Inflow {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.pulse.body_is_left.store(false, Ordering::Relaxed);
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
