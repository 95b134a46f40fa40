//! How a dead letter is written: key, value and headers of the original record are unchanged, and
//! headers with the reason are appended.

use jiff::Timestamp;

use crate::{
    event::{self, header},
    kafka::record::{Headers, OutgoingRecord, Record},
};

/// A record to be dead-lettered, with the reason.
///
/// ```
/// use formline_core::{
///     Record,
///     dead_letter::headers::DeadLetterRecord,
///     kafka::record::Partition,
/// };
///
/// let partition = Partition { topic: "orders".into(), number: 3 };
/// let record = Record::new(partition, 7, 0, None, Some(b"{}"), &[]);
/// let dead_letter = DeadLetterRecord {
///     record: &record,
///     step: "rows",
///     reason: "trap",
///     detail: "the plug-in trapped",
///     attempts: 2,
///     plugin: Some("rows@1.0.0"),
/// };
/// let outgoing = dead_letter.outgoing("demo.rows.dead-letter");
/// assert_eq!(outgoing.value, Some(b"{}".as_slice()));
/// assert_eq!(outgoing.headers.get("dead-letter-reason"), Some(b"trap".as_slice()));
/// ```
#[derive(Clone, Debug)]
pub struct DeadLetterRecord<'a> {
    /// The original record.
    pub record: &'a Record,
    /// The step or sink that could not process it.
    pub step: &'a str,
    /// A stable code, such as `trap` or the code of a plug-in's rejection.
    pub reason: &'a str,
    /// An explanation for the operator.
    pub detail: &'a str,
    /// Number of attempts.
    pub attempts: u32,
    /// The plug-in of a step; `None` for a sink.
    pub plugin: Option<&'a str>,
}

/// The step or sink. This is the first appended header: headers before the last one with this name
/// belong to the original record.
pub(crate) const STEP: &str = "dead-letter-step";
/// The original position: topic, partition and offset.
pub(crate) const TOPIC: &str = "dead-letter-topic";
pub(crate) const PARTITION: &str = "dead-letter-partition";
pub(crate) const OFFSET: &str = "dead-letter-offset";
pub(crate) const REASON: &str = "dead-letter-reason";
pub(crate) const DETAIL: &str = "dead-letter-detail";
pub(crate) const ATTEMPTS: &str = "dead-letter-attempts";
/// Time at which the record was dead-lettered.
pub(crate) const TIME: &str = "dead-letter-time";
pub(crate) const PLUGIN: &str = "dead-letter-plugin";

/// On a resolution record: offset of the dead letter that it closes.
pub(crate) const RESOLVED_OFFSET: &str = "dead-letter-settled";
/// On a resolution record: `replayed` or `discarded`.
pub(crate) const RESOLUTION: &str = "dead-letter-settlement";
/// On a resolution record: time of the resolution.
pub(crate) const RESOLUTION_TIME: &str = "dead-letter-settlement-time";

/// The only partition of a dead-letter topic. With one partition, the offset identifies a dead
/// letter.
pub(crate) const DEAD_LETTER_PARTITION: i32 = 0;

/// Maximum length of `detail` in bytes; a longer one is truncated. Kafka's size limit must leave
/// room for the original record.
const DETAIL_LIMIT: usize = 4096;

// === impl DeadLetterRecord ===

impl DeadLetterRecord<'_> {
    /// Returns the record to write to the dead-letter topic.
    pub fn outgoing<'a>(&'a self, topic: &'a str) -> OutgoingRecord<'a> {
        OutgoingRecord {
            topic,
            partition: Some(DEAD_LETTER_PARTITION),
            key: self.record.key(),
            value: self.record.value(),
            headers: self.headers(),
            // The retention counts from now, not from the timestamp of the original record, so that
            // the operator has the full time to look at it.
            timestamp_ms: None,
        }
    }

    fn headers(&self) -> Headers {
        let position = &self.record.partition;
        // A failed replay is a dead letter like the first one and can be replayed again.
        let original = self.record.headers();
        let original = original.filter(|(name, _)| *name != header::REPLAY_FOR);
        let headers = Headers::copied(original, 9)
            .with(STEP, self.step)
            .with(TOPIC, &*position.topic)
            .with(PARTITION, position.number.to_string())
            .with(OFFSET, self.record.offset.to_string())
            .with(REASON, self.reason)
            .with(DETAIL, truncate(self.detail))
            .with(ATTEMPTS, self.attempts.to_string())
            .with(TIME, event::format_time(Timestamp::now()));
        match self.plugin {
            Some(plugin) => headers.with(PLUGIN, plugin),
            None => headers,
        }
    }
}

fn truncate(text: &str) -> &str {
    &text[..text.floor_char_boundary(DETAIL_LIMIT)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::record::Partition;

    #[test]
    fn a_long_detail_is_truncated_between_characters() {
        let text = "ä".repeat(DETAIL_LIMIT);
        assert_eq!(truncate(&text).len(), DETAIL_LIMIT);
        assert_eq!(truncate("short"), "short");
    }

    #[test]
    fn dead_letters_keep_their_wire_form() {
        let partition = Partition {
            topic: "orders".into(),
            number: 3,
        };
        let original = [("ce_id", b"id".as_slice()), ("formline-replay-for", b"g")];
        let record = Record::new(partition, 7, 8, Some(b"key"), Some(b"value"), &original);
        let dead_letter = DeadLetterRecord {
            record: &record,
            step: "rows",
            reason: "trap",
            detail: "it trapped",
            attempts: 2,
            plugin: Some("rows@1.0.0"),
        };
        let outgoing = dead_letter.outgoing("demo.rows.dead-letter");
        assert_eq!((outgoing.partition, outgoing.timestamp_ms), (Some(0), None));
        assert_eq!(outgoing.headers.get("formline-replay-for"), None);
        for (name, value) in [
            ("ce_id", "id"),
            ("dead-letter-step", "rows"),
            ("dead-letter-topic", "orders"),
            ("dead-letter-partition", "3"),
            ("dead-letter-offset", "7"),
            ("dead-letter-reason", "trap"),
            ("dead-letter-detail", "it trapped"),
            ("dead-letter-attempts", "2"),
            ("dead-letter-plugin", "rows@1.0.0"),
        ] {
            let found = outgoing.headers.get(name);
            assert_eq!(found, Some(value.as_bytes()), "{name}");
        }
        assert!(outgoing.headers.get("dead-letter-time").is_some());
    }
}
