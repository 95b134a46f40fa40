//! `[ingest]`: limits of the HTTP service.

use std::time::Duration;

use crate::config::{
    SectionReader,
    keys::formline_toml::{file, ingest},
};

/// Limits of the HTTP service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ingest {
    /// Maximum size of a request body in bytes.
    pub body_bytes: usize,
    /// Maximum number of requests in progress. Above it, the response is 503.
    pub in_flight: usize,
    /// Maximum number of connections. Above it, clients wait in the backlog of the kernel.
    pub connections: usize,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long the acknowledgement of Kafka may take; less than `request_timeout`.
    pub delivery_timeout: Duration,
    /// Number of trusted proxies, each of which appends an address to `X-Forwarded-For`.
    pub proxies: usize,
}

// === impl Ingest ===

impl Ingest {
    pub(super) fn read(root: &mut SectionReader<'_>) -> Self {
        let mut table = root.table_or_empty(&file::INGEST);
        let read = Self {
            body_bytes: table.size(&ingest::BODY_KIB) << 10,
            in_flight: table.size(&ingest::IN_FLIGHT),
            connections: table.size(&ingest::CONNECTIONS),
            request_timeout: table.milliseconds(&ingest::REQUEST_TIMEOUT_MS),
            delivery_timeout: table.milliseconds(&ingest::DELIVERY_TIMEOUT_MS),
            proxies: table.size(&ingest::PROXIES),
        };
        if read.delivery_timeout >= read.request_timeout {
            table.report(
                &ingest::DELIVERY_TIMEOUT_MS,
                "the acknowledgement of Kafka may arrive after the request has timed out",
                "make delivery_timeout_ms less than request_timeout_ms",
            );
        }
        table.finish();
        read
    }
}
