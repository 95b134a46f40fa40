//! Names of record headers: those of the CloudEvents Kafka binding, and those that Formline adds.

/// Version of the CloudEvents specification.
pub const SPEC_VERSION: &str = "ce_specversion";
/// Id of the record.
pub const ID: &str = "ce_id";
/// Type of the event.
pub const TYPE: &str = "ce_type";
/// Origin of the event: `/forms/<name>`.
pub const SOURCE: &str = "ce_source";
/// Value of the form's key field, if the form has one.
pub const SUBJECT: &str = "ce_subject";
/// Time at which the submission was accepted. All derived records have the same one.
pub const TIME: &str = "ce_time";
/// The schema that the value conforms to.
pub const DATA_SCHEMA: &str = "ce_dataschema";
/// Media type of the value.
pub const CONTENT_TYPE: &str = "content-type";
/// W3C trace context.
pub const TRACE_PARENT: &str = "traceparent";
/// Id of the submission that a record was derived from.
pub const ORIGIN: &str = "formline-origin";
/// Name, version and digest of the plug-in that wrote the record.
pub const PLUGIN: &str = "formline-plugin";
/// Hash of a submission with an `Idempotency-Key`. Only such a submission can be in the log twice.
pub const FINGERPRINT: &str = "formline-fingerprint";
/// The only consumer group that processes a replayed record.
pub const REPLAY_FOR: &str = "formline-replay-for";
/// On a record that a sink has deferred: its original position, the attempt that it waits for, and
/// the time at which the attempt is due.
pub const RETRY: &str = "formline-retry";

/// On a record of a changelog: id of the changelog. A recreated topic has a new one.
pub const GENERATION: &str = "formline-generation";
/// On a record of a changelog: expiry of the entry, in milliseconds since 1970.
pub const EXPIRES: &str = "formline-expires";
/// On a record of a changelog: the events that changed the key, one header for each input topic.
/// See [`Provenance`](super::provenance::Provenance).
pub const PROVENANCE: &str = "formline-cause";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_keep_their_wire_form() {
        let names = [
            (SPEC_VERSION, "ce_specversion"),
            (ID, "ce_id"),
            (TYPE, "ce_type"),
            (SOURCE, "ce_source"),
            (SUBJECT, "ce_subject"),
            (TIME, "ce_time"),
            (DATA_SCHEMA, "ce_dataschema"),
            (CONTENT_TYPE, "content-type"),
            (TRACE_PARENT, "traceparent"),
            (ORIGIN, "formline-origin"),
            (PLUGIN, "formline-plugin"),
            (FINGERPRINT, "formline-fingerprint"),
            (REPLAY_FOR, "formline-replay-for"),
            (RETRY, "formline-retry"),
            (GENERATION, "formline-generation"),
            (EXPIRES, "formline-expires"),
            (PROVENANCE, "formline-cause"),
        ];
        for (name, wire) in names {
            assert_eq!(name, wire);
        }
    }
}
