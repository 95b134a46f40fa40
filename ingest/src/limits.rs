//! The bounds of the service. Every queue, wait and size that a client can influence has one here.

use std::time::Duration;

/// What one process takes at most. The defaults fit 512 MiB of memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Largest body in bytes; more is 413. Below the 1 MB of Kafka's `message.max.bytes`, with room for key and
    /// headers, and for JSON that grows when it is written out from another encoding.
    pub body_bytes: usize,
    /// Largest sum of the names and values of a request's headers in bytes; more is 431.
    pub header_bytes: usize,
    /// Most values (members and elements, at any depth) in one submission; more is 422.
    pub values: usize,
    /// Requests in work at one time; beyond, the answer is 503 and the body is not read.
    pub in_flight: usize,
    /// Connections at one time; beyond, clients wait in the kernel's backlog.
    pub connections: usize,
    /// Until a new connection must have sent the headers of its first request; then it is closed.
    pub header_timeout: Duration,
    /// How long a connection without a request stays open, the headers of the next request included.
    pub idle_timeout: Duration,
    /// Until every request is answered. The body must be there `delivery_timeout` earlier; else 408.
    pub request_timeout: Duration,
    /// Until Kafka must have acknowledged; else 503.
    pub delivery_timeout: Duration,
    /// How long requests in work may still take when the process stops.
    pub grace: Duration,
    /// Records that wait for Kafka; beyond, the answer is 503.
    pub queue_messages: usize,
    /// The same in KiB.
    pub queue_kib: usize,
    /// Trusted proxies in front. Each appends its client to `X-Forwarded-For`, so the address that limits count is the
    /// one that stands so many places from the end; 0 takes the peer of the connection and believes no header.
    pub proxies: usize,
}

// === impl Limits ===

impl Limits {
    /// How long a body may take, so that the delivery still fits into the request's time.
    pub(crate) fn body_timeout(&self) -> Duration {
        self.request_timeout.saturating_sub(self.delivery_timeout)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 512 << 10,
            header_bytes: 16 << 10,
            values: 5_000,
            in_flight: 4096,
            connections: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            request_timeout: Duration::from_secs(10),
            delivery_timeout: Duration::from_secs(5),
            grace: Duration::from_secs(20),
            queue_messages: 100_000,
            queue_kib: 256 << 10,
            proxies: 0,
        }
    }
}
