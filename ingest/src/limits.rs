//! The bounds of the service. Every queue, wait and size that a client can influence has its bound
//! here.

use std::time::Duration;

/// The resource limits of one process. The defaults fit into 512 MiB of memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Largest body in bytes; a larger one gets 413. The default is below the 1 MB of Kafka's
    /// `message.max.bytes`, with room for key and headers, and for JSON that grows when it is
    /// converted from another encoding.
    pub body_bytes: usize,
    /// Largest total size of the names and values of a request's headers in bytes; above it, 431.
    pub header_bytes: usize,
    /// Maximum number of values (members and elements at any depth) in one submission; above it,
    /// 422.
    pub values: usize,
    /// Maximum number of concurrent requests; above it, 503 without reading the body.
    pub in_flight: usize,
    /// Maximum number of open connections; above it, clients wait in the kernel's backlog.
    pub connections: usize,
    /// Time for a new connection to send the headers of its first request; then it is closed.
    pub header_timeout: Duration,
    /// How long a connection without a request stays open, including the headers of the next
    /// request.
    pub idle_timeout: Duration,
    /// Time to respond to a request. The body must be complete `delivery_timeout` earlier;
    /// otherwise 408.
    pub request_timeout: Duration,
    /// Time for Kafka to acknowledge a record; otherwise 503.
    pub delivery_timeout: Duration,
    /// Time that requests in flight have left when the process stops.
    pub grace: Duration,
    /// Maximum number of records that wait for Kafka; above it, 503.
    pub queue_messages: usize,
    /// Maximum size of the records that wait for Kafka, in KiB; above it, 503.
    pub queue_kib: usize,
    /// Number of trusted proxies in front of the service. Each appends the address of its client to
    /// `X-Forwarded-For`, so rate limits apply to the address at this position from the end. With
    /// 0, they apply to the peer of the connection, and the header is ignored.
    pub proxies: usize,
}

// === impl Limits ===

impl Limits {
    /// Time to read a body, such that the delivery still fits into the time of the request.
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
