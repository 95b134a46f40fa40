//! Everything that an event can bring about: records, state, counts and log lines.

use std::fmt;

use serde::Serialize;

use crate::bindings::formline::plugin::output::{OutRecord, SendError};
use crate::bindings::formline::plugin::types::Header;
use crate::host::Host;
use crate::{Level, Reject, Store};

/// What [`Plugin::process`](crate::Plugin::process) writes to. Records and state are published together
/// with the input's offset, or not at all.
pub struct Outputs<'host> {
    host: &'host dyn Host,
}

/// A record to send on. Its key and timestamp are those of the event, unless set.
#[derive(Debug, Clone)]
pub struct Record {
    inner: OutRecord,
}

// === impl Outputs ===

impl<'host> Outputs<'host> {
    pub(crate) fn new(host: &'host dyn Host) -> Self {
        Self { host }
    }

    /// Sends a record to one of the plug-in's outputs.
    ///
    /// # Errors
    /// `record-too-large`, `output-quota-exceeded`, `reserved-header`, or `unknown-port` for a name
    /// that [`Plugin::OUTPUTS`](crate::Plugin::OUTPUTS) does not declare.
    #[allow(clippy::needless_pass_by_value)] // a record is sent once
    pub fn send(&mut self, port: &str, record: Record) -> Result<(), Reject> {
        let sent = self.host.send(port, &record.inner).ok_or_else(|| {
            Reject::other(
                "unknown-port",
                format!("the plug-in does not declare the output {port}"),
            )
        })?;
        sent.map_err(|error| match error {
            SendError::RecordTooLarge => Reject::too_large(
                "record-too-large",
                format!("a record for {port} is too large"),
            ),
            SendError::QuotaExceeded => {
                Reject::too_large("output-quota-exceeded", "the event sends more than it may")
            }
            SendError::ReservedHeader => Reject::other(
                "reserved-header",
                format!("a record for {port} sets a header that only the host may write"),
            ),
        })
    }

    /// Opens one of the plug-in's stores.
    pub fn store(&self, name: &'static str) -> Store<'host> {
        Store::new(self.host, name)
    }

    /// Adds to a counter of [`Plugin::COUNTERS`](crate::Plugin::COUNTERS).
    pub fn count(&mut self, counter: &str, delta: u64) {
        self.host.counter_add(counter, delta);
    }

    /// Writes to the step's log, which is rate-limited. Never log what people have submitted.
    pub fn log(&mut self, level: Level, message: &str) {
        self.host.log(level, message);
    }
}

impl fmt::Debug for Outputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outputs").finish_non_exhaustive()
    }
}

// === impl Record ===

impl Record {
    /// A record with this value. An empty one deletes its key from a compacted topic.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self {
            inner: OutRecord {
                key: None,
                value: value.into(),
                headers: Vec::new(),
                timestamp_ms: None,
            },
        }
    }

    /// A record whose value is `value` as JSON.
    ///
    /// # Errors
    /// `not-serializable` for what JSON cannot hold, such as a map with keys that are not text.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Reject> {
        let text = serde_json::to_vec(value).map_err(|_| {
            Reject::other("not-serializable", "the output cannot be written as JSON")
        })?;
        Ok(Self::new(text))
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.inner.key = Some(key.into());
        self
    }

    /// Adds a header. The host's own (`ce_…`, `formline-…`, `traceparent`) cannot be overwritten.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.inner.headers.push(Header {
            name: name.into(),
            value: value.into(),
        });
        self
    }

    /// Sets the timestamp, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.inner.timestamp_ms = Some(timestamp_ms);
        self
    }
}
