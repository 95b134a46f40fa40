//! One record of an input topic, as the plug-in receives it.

use std::cell::OnceCell;
use std::fmt;

use serde::de::DeserializeOwned;

use crate::bindings::formline::plugin::{input::BatchInfo, types};
use crate::host::Host;
use crate::{Object, Reject};

/// The event that [`Plugin::process`](crate::Plugin::process) receives. Headers are fetched from
/// the host one by one, because most plug-ins need few of them.
///
/// ```
/// # use formline_plugin_sdk::prelude::*;
/// /// Sends the submitted field `name`, in upper case.
/// fn shout(event: &Event, out: &mut Outputs) -> Result<(), Reject> {
///     let submission = event.object()?;
///     let name = submission.text("name").ok_or_else(|| Reject::skip("no-name"))?;
///     out.send("shouts", Record::json(&name.to_uppercase())?.header("form", event.form()?))
/// }
/// ```
pub struct Event<'host> {
    /// Fetched once per batch, when the first event needs it.
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

    /// The record's value: the JSON that ingest has accepted.
    pub fn value(&self) -> &[u8] {
        &self.record.value
    }

    /// Whether the value is empty, which deletes the key in a compacted topic.
    pub fn is_deletion(&self) -> bool {
        self.record.value.is_empty()
    }

    /// The value, deserialized from JSON.
    ///
    /// # Errors
    /// `malformed-json` if the value is not JSON, does not fit `T`, or is nested deeper than 128
    /// levels.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Reject> {
        serde_json::from_slice(self.value()).map_err(|error| Reject::bad_json(&error))
    }

    /// The value as a JSON [`Object`], whose fields keep the text as it was submitted.
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

    /// A text header; `None` if it is missing or not UTF-8.
    pub fn header_text(&self, name: &str) -> Option<String> {
        self.header(name)
            .and_then(|value| String::from_utf8(value).ok())
    }

    /// The name of the form through which the event was submitted. It comes from the header
    /// `ce_source`, which is `/forms/<name>`.
    ///
    /// # Errors
    /// `no-source` if the header is missing or has another format.
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

    /// The submission's id, which is the same in the whole chain of steps: the header
    /// `formline-origin`, or `ce_id` before the first step.
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

    /// How often the plug-in has received this event before.
    pub fn attempt(&self) -> u32 {
        self.record.attempt
    }

    /// The record's timestamp in Kafka, in milliseconds since 1970.
    pub fn timestamp_ms(&self) -> i64 {
        self.record.timestamp_ms
    }

    /// The wall clock, frozen during the batch, in milliseconds since 1970.
    pub fn batch_time_ms(&self) -> i64 {
        self.host.batch_time_ms()
    }

    /// A new id that is the same whenever this event is processed again. Each call returns another
    /// id.
    pub fn derive_id(&self) -> String {
        self.host.derive_id()
    }

    /// The plug-in's name for the input.
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

/// Shows the event's position, but not the submitted data.
impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("topic", &self.batch().topic)
            .field("partition", &self.batch().partition)
            .field("offset", &self.record.offset)
            .finish_non_exhaustive()
    }
}
