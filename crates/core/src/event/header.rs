//! Names of the headers of an event: those of the CloudEvents Kafka binding, and those that Formline adds.

/// Version of CloudEvents.
pub const SPEC_VERSION: &str = "ce_specversion";
/// Id of this record.
pub const ID: &str = "ce_id";
/// Kind of event.
pub const TYPE: &str = "ce_type";
/// Where it began: `/forms/<name>`.
pub const SOURCE: &str = "ce_source";
/// What it is about: the submission's key, if the form has one.
pub const SUBJECT: &str = "ce_subject";
/// When the submission was accepted, unchanged along the whole chain.
pub const TIME: &str = "ce_time";
/// The schema that the value satisfies.
pub const DATA_SCHEMA: &str = "ce_dataschema";
/// Media type of the value.
pub const CONTENT_TYPE: &str = "content-type";
/// W3C trace context.
pub const TRACE_PARENT: &str = "traceparent";
/// Id of the submission that a derived record stems from.
pub const ORIGIN: &str = "formline-origin";
/// Name, version and digest of the plug-in that made the record.
pub const PLUGIN: &str = "formline-plugin";
/// Hash of a submission that came with an `Idempotency-Key`. Only such a submission can be in the log twice.
pub const FINGERPRINT: &str = "formline-fingerprint";
/// The one consumer group that a replayed record is for.
pub const REPLAY_FOR: &str = "formline-replay-for";
/// On a record that a sink has put off: where it was read first, which attempt it waits for, and when that is due.
pub const RETRY: &str = "formline-retry";

/// On a record of a changelog: an id of the changelog, another one when its topic is made anew.
pub const GENERATION: &str = "formline-generation";
/// On a record of a changelog: when the entry ends, in milliseconds since 1970.
pub const EXPIRES: &str = "formline-expires";
/// On records of a changelog: the events that have changed the key, one header for each input topic (`core::cause`).
pub const CAUSE: &str = "formline-cause";

/// Whether only the line itself may write a header of this name.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with("ce_")
        || name.starts_with("formline-")
        || name.starts_with("dead-letter-")
        || matches!(name, CONTENT_TYPE | TRACE_PARENT)
}
