//! Everything that an event can result in: records, state, counts and log lines.

use std::fmt;

use serde::Serialize;

use crate::bindings::formline::plugin::output::{OutRecord, SendError};
use crate::bindings::formline::plugin::types::Header;
use crate::host::Host;
use crate::{Level, Reject, Store};

/// Receives the results of [`Plugin::process`](crate::Plugin::process). Records and state are
/// published together with the input's offset, or not at all.
///
/// ```
/// # use formline_plugin_sdk::prelude::*;
/// /// Counts the events of each key, and sends the new count.
/// fn count(event: &Event, out: &mut Outputs) -> Result<(), Reject> {
///     let key = event.key().unwrap_or_default();
///     let mut counts = out.store("counts");
///     let count = counts.get_json::<u64>(key)?.unwrap_or_default() + 1;
///     counts.put_json(key, &count)?;
///     out.count("events_counted", 1);
///     out.send("counts", Record::json(&count)?)
/// }
/// ```
pub struct Outputs<'host> {
    host: &'host dyn Host,
}

/// A record to send. It has the event's key and timestamp, unless others are set.
///
/// ```
/// # use formline_plugin_sdk::prelude::*;
/// let record = Record::json(&["a", "b"])?.key("my-key").header("lang", "en");
/// # Ok::<(), Reject>(())
/// ```
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
    /// that [`Plugin::OUTPUTS`](crate::Plugin::OUTPUTS) does not contain.
    #[allow(clippy::needless_pass_by_value)] // a record can be sent only once
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
            SendError::QuotaExceeded => Reject::too_large(
                "output-quota-exceeded",
                "the event sends more records or bytes than allowed",
            ),
            SendError::ReservedHeader => Reject::other(
                "reserved-header",
                format!("a record for {port} sets a header that only the host may set"),
            ),
        })
    }

    /// Opens a store of [`Plugin::STORES`](crate::Plugin::STORES).
    pub fn store(&self, name: &'static str) -> Store<'host> {
        Store::new(self.host, name)
    }

    /// Adds to a counter of [`Plugin::COUNTERS`](crate::Plugin::COUNTERS), provided that the event
    /// is accepted.
    pub fn count(&mut self, counter: &str, delta: u64) {
        self.host.counter_add(counter, delta);
    }

    /// Writes to the step's log, which is rate-limited. Never log what users have submitted.
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
    /// A record with this value. An empty value deletes its key in a compacted topic.
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

    /// A record with `value` as JSON.
    ///
    /// # Errors
    /// `not-serializable` for a value that JSON cannot represent, such as a map whose keys are not
    /// text.
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

    /// Adds a header. The host's own headers (`ce_…`, `formline-…`, `dead-letter-…`,
    /// `content-type`, `traceparent`) cannot be overwritten: sending the record then fails.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.inner.headers.push(Header {
            name: name.into(),
            value: value.into(),
        });
        self
    }

    /// Sets the timestamp, in milliseconds since 1970. The host stops a plug-in that sends a
    /// negative one.
    #[must_use]
    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.inner.timestamp_ms = Some(timestamp_ms);
        self
    }
}
