//! One record of an input topic, as the plug-in sees it.

use std::cell::OnceCell;
use std::fmt;

use serde::de::DeserializeOwned;

use crate::bindings::formline::plugin::{input::BatchInfo, types};
use crate::host::Host;
use crate::{Object, Reject};

/// The event at hand. Headers are fetched from the host one by one, since most plug-ins need few.
pub struct Event<'host> {
    /// Fetched once per batch, by the first event that wants to know.
    batch: &'host OnceCell<BatchInfo>,
    record: types::Event,
    host: &'host dyn Host,
}

// === impl Event ===

impl<'host> Event<'host> {
    pub(crate) fn new(
        batch: &'host OnceCell<BatchInfo>,
        record: types::Event,
        host: &'host dyn Host,
    ) -> Self {
        Self {
            batch,
            record,
            host,
        }
    }

    fn batch(&self) -> &BatchInfo {
        self.batch.get_or_init(|| self.host.info())
    }

    /// The record's key, if it has one.
    pub fn key(&self) -> Option<&[u8]> {
        self.record.key.as_deref()
    }

    /// The record's value: the accepted JSON.
    pub fn value(&self) -> &[u8] {
        &self.record.value
    }

    /// Whether the value is empty, which on a compacted topic deletes the key.
    pub fn is_deletion(&self) -> bool {
        self.record.value.is_empty()
    }

    /// The value as a `T`.
    ///
    /// # Errors
    /// `malformed-json` if it is not JSON, not a `T`, or nested deeper than 128 levels.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Reject> {
        serde_json::from_slice(self.value()).map_err(|error| Reject::bad_json(&error))
    }

    /// The value as a JSON object whose fields keep the text in which they were written.
    ///
    /// # Errors
    /// `malformed-json` if the value is not JSON, or not an object.
    pub fn object(&self) -> Result<Object<'_>, Reject> {
        Object::parse(self.value()).map_err(|error| Reject::bad_json(&error))
    }

    /// A header of the record, such as `traceparent`.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.host.header(name)
    }

    /// A header that is text; `None` if it is missing or not UTF-8.
    pub fn header_text(&self, name: &str) -> Option<String> {
        self.header(name)
            .and_then(|value| String::from_utf8(value).ok())
    }

    /// The form that the submission came in by, from `ce_source`, which is `/forms/<name>`.
    ///
    /// # Errors
    /// `no-source` if the header is missing or of another form.
    pub fn form(&self) -> Result<String, Reject> {
        self.header_text("ce_source")
            .as_deref()
            .and_then(|source| source.strip_prefix("/forms/"))
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| {
                Reject::violates_invariant(
                    "no-source",
                    "the header ce_source does not name a form; it should be /forms/<name>",
                )
            })
    }

    /// The submission's id, which stays the same along the whole chain of steps: `formline-origin`,
    /// or `ce_id` where no step has touched the record yet.
    ///
    /// # Errors
    /// `no-id` if the record has neither header.
    pub fn origin(&self) -> Result<String, Reject> {
        self.header_text("formline-origin")
            .or_else(|| self.header_text("ce_id"))
            .ok_or_else(|| {
                Reject::violates_invariant(
                    "no-id",
                    "the record has neither formline-origin nor ce_id",
                )
            })
    }

    /// How often this event was given to the plug-in before.
    pub fn attempt(&self) -> u32 {
        self.record.attempt
    }

    /// Time of the record in Kafka, in milliseconds since 1970.
    pub fn timestamp_ms(&self) -> i64 {
        self.record.timestamp_ms
    }

    /// The wall clock, frozen for the batch, in milliseconds since 1970.
    pub fn batch_time_ms(&self) -> i64 {
        self.host.batch_time_ms()
    }

    /// A new id that is the same whenever this event is processed again.
    pub fn derive_id(&self) -> String {
        self.host.derive_id()
    }

    /// The plug-in's own name for the input.
    pub fn port(&self) -> &str {
        &self.batch().port
    }

    /// The topic that the step binds to the input.
    pub fn topic(&self) -> &str {
        &self.batch().topic
    }

    /// The partition of the topic.
    pub fn partition(&self) -> i32 {
        self.batch().partition
    }

    /// The record's offset in its partition.
    pub fn offset(&self) -> i64 {
        self.record.offset
    }
}

/// Says where the event is, not what was submitted.
impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("topic", &self.batch().topic)
            .field("partition", &self.batch().partition)
            .field("offset", &self.record.offset)
            .finish_non_exhaustive()
    }
}
