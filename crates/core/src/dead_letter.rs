//! A record that a step or sink gave up on: key, value and headers stay as they were, the reason is added.

use jiff::Timestamp;

use crate::{
    event,
    record::{Headers, Outgoing, Record},
};

/// Why and by whom a record was given up.
#[derive(Clone, Debug)]
pub struct DeadLetter<'a> {
    /// The record, unchanged.
    pub record: &'a Record,
    /// Step or sink that gave up.
    pub step: &'a str,
    /// A stable code, such as `trap` or what a plug-in's rejection says.
    pub reason: &'a str,
    /// A sentence for a person.
    pub detail: &'a str,
    /// How often it was tried.
    pub attempts: u32,
    /// The plug-in, if there is one.
    pub plugin: Option<&'a str>,
}

/// A detail longer than this is cut: Kafka's limit must leave room for the record itself.
const DETAIL_LIMIT: usize = 4096;

// === impl DeadLetter ===

impl DeadLetter<'_> {
    /// The record to write to the dead-letter topic.
    pub fn outgoing<'a>(&'a self, topic: &'a str) -> Outgoing<'a> {
        Outgoing {
            topic,
            partition: None,
            key: self.record.key(),
            value: self.record.value(),
            headers: self.headers(),
            timestamp_ms: Some(self.record.timestamp_ms),
        }
    }

    fn headers(&self) -> Headers {
        let at = &self.record.partition;
        let headers = Headers::copied(self.record, 9)
            .with("dead-letter-step", self.step)
            .with("dead-letter-topic", &*at.topic)
            .with("dead-letter-partition", at.number.to_string())
            .with("dead-letter-offset", self.record.offset.to_string())
            .with("dead-letter-reason", self.reason)
            .with("dead-letter-detail", cut(self.detail))
            .with("dead-letter-attempts", self.attempts.to_string())
            .with("dead-letter-time", event::format_time(Timestamp::now()));
        match self.plugin {
            Some(plugin) => headers.with("dead-letter-plugin", plugin),
            None => headers,
        }
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(DETAIL_LIMIT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let text = "ä".repeat(DETAIL_LIMIT);
        assert_eq!(cut(&text).len(), DETAIL_LIMIT);
        assert_eq!(cut("short"), "short");
    }
}
