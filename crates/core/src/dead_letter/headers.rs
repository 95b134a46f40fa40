//! A record that a step or sink gave up on: key, value and headers stay as they were, the reason is added. How it is
//! read back is `letter`, what becomes of it `settlement`.

use jiff::Timestamp;

use crate::{
    event,
    kafka::record::{Headers, Outgoing, Record},
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

/// The headers that are added, behind those of the record.
pub(crate) mod header {
    /// Step or sink that gave up. The first of the added ones: what stands before the last of this name is the record's.
    pub(crate) const STEP: &str = "dead-letter-step";
    /// Where the record was read: topic, partition, offset.
    pub(crate) const TOPIC: &str = "dead-letter-topic";
    pub(crate) const PARTITION: &str = "dead-letter-partition";
    pub(crate) const OFFSET: &str = "dead-letter-offset";
    pub(crate) const REASON: &str = "dead-letter-reason";
    pub(crate) const DETAIL: &str = "dead-letter-detail";
    pub(crate) const ATTEMPTS: &str = "dead-letter-attempts";
    /// When it was parked.
    pub(crate) const TIME: &str = "dead-letter-time";
    pub(crate) const PLUGIN: &str = "dead-letter-plugin";
}

/// The topic has one partition, so that an offset names a dead letter.
pub(crate) const PARTITION: i32 = 0;

/// A detail longer than this is cut: Kafka's limit must leave room for the record itself.
const DETAIL_LIMIT: usize = 4096;

// === impl DeadLetter ===

impl DeadLetter<'_> {
    /// The record to write to the dead-letter topic.
    pub fn outgoing<'a>(&'a self, topic: &'a str) -> Outgoing<'a> {
        Outgoing {
            topic,
            partition: Some(PARTITION),
            key: self.record.key(),
            value: self.record.value(),
            headers: self.headers(),
            // Its retention counts from now and not from the record's time: a person has to have the time to look at it.
            timestamp_ms: None,
        }
    }

    fn headers(&self) -> Headers {
        let at = &self.record.partition;
        // A replay that fails again is a dead letter like the first one, to be replayed again.
        let own = self.record.headers();
        let own = own.filter(|(name, _)| *name != event::header::REPLAY_FOR);
        let headers = Headers::copied(own, 9)
            .with(header::STEP, self.step)
            .with(header::TOPIC, &*at.topic)
            .with(header::PARTITION, at.number.to_string())
            .with(header::OFFSET, self.record.offset.to_string())
            .with(header::REASON, self.reason)
            .with(header::DETAIL, cut(self.detail))
            .with(header::ATTEMPTS, self.attempts.to_string())
            .with(header::TIME, event::format_time(Timestamp::now()));
        match self.plugin {
            Some(plugin) => headers.with(header::PLUGIN, plugin),
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
