//! The entries of a journal and their JSON form, which must not change.

use std::{
    collections::{
        HashMap,
        hash_map::Entry::{Occupied, Vacant},
    },
    hash::Hash,
};

use formline_core::Record;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, AttemptKey, RecordPosition};

/// One thing that has happened to a record.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub(crate) struct JournalEntry {
    pub(crate) outcome: AttemptOutcome,
    /// Number of the attempt, from 1.
    pub(crate) attempt: u32,
    /// Earlier attempts whose outcome is unknown.
    #[serde(rename = "doubts")]
    pub(crate) unknown_outcomes: u32,
    pub(crate) at: Timestamp,
    /// Why a record was dead-lettered: the code of its dead letter.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// For operators, and for what a kind of sink must know after a restart. It contains nothing of
    /// the submission.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
}

/// What an entry says about its attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AttemptOutcome {
    /// The attempt begins. If no other entry follows, it is unknown whether it had its effect.
    Attempting,
    /// It certainly had no effect, and is made again.
    Failed,
    /// It had no effect, or the outcome is unknown, and the record waits in the retries topic for
    /// the next one.
    #[serde(rename = "put-off")]
    Deferred,
    /// It had its effect. Final.
    Sent,
    /// The outcome is unknown, and the attempt is not repeated. Final.
    #[serde(rename = "uncertain")]
    Unknown,
    /// The record becomes a dead letter, right after this entry. Final.
    #[serde(rename = "given-up")]
    DeadLettered,
}

/// An entry that was read back.
#[derive(Clone, Debug)]
pub(crate) struct RecordedEntry {
    pub(crate) key: AttemptKey,
    /// Where the record of the attempt was read: in an input, or in the retries topic.
    pub(crate) read: RecordPosition,
    pub(crate) entry: JournalEntry,
}

/// The value of a record of the journal; its key is the id.
#[derive(Deserialize, Serialize)]
struct StoredEntry {
    record: RecordPosition,
    read: RecordPosition,
    #[serde(flatten)]
    entry: JournalEntry,
}

// === impl JournalEntry ===

impl JournalEntry {
    /// An entry with the present time.
    pub(crate) fn now(outcome: AttemptOutcome, attempt: &Attempt, unknown_outcomes: u32) -> Self {
        Self {
            outcome,
            attempt: attempt.number,
            unknown_outcomes,
            at: Timestamp::now(),
            reason: String::new(),
            detail: String::new(),
        }
    }

    pub(crate) fn with_detail(self, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { detail, ..self }
    }

    /// Whether no other attempt follows.
    pub(crate) fn is_final(&self) -> bool {
        use AttemptOutcome::{DeadLettered, Sent, Unknown};
        matches!(self.outcome, Sent | Unknown | DeadLettered)
    }

    /// The value of the journal's record about an attempt.
    pub(super) fn into_value(self, attempt: &Attempt) -> Vec<u8> {
        let stored = StoredEntry {
            record: attempt.key.position.clone(),
            read: RecordPosition::of(&attempt.partition, attempt.offset),
            entry: self,
        };
        serde_json::to_vec(&stored).expect("an entry has only text and numbers")
    }

    /// Keeps the entry for a record if it outranks the known one: a final entry counts, or else the
    /// one about the last attempt. The entries of one record can be in several partitions, which
    /// arrive in any order.
    pub(super) fn keep_latest<K: Eq + Hash>(self, last: &mut HashMap<K, Self>, record: K) {
        match last.entry(record) {
            Occupied(known) if known.get().rank() > self.rank() => {}
            Occupied(mut known) => *known.get_mut() = self,
            Vacant(unknown) => {
                unknown.insert(self);
            }
        }
    }

    fn rank(&self) -> (bool, u32) {
        (self.is_final(), self.attempt)
    }
}

// === impl RecordedEntry ===

impl RecordedEntry {
    /// `None` if the record is not an entry: another program has written into the topic.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let stored: StoredEntry = serde_json::from_slice(record.value()?).ok()?;
        Some(Self {
            key: AttemptKey {
                id: record.key()?.to_vec(),
                position: stored.record,
            },
            read: stored.read,
            entry: stored.entry,
        })
    }
}

#[cfg(test)]
mod tests {
    use formline_core::kafka::record::Partition;

    use super::*;

    #[test]
    fn the_json_of_an_entry_keeps_its_form() {
        let partition = Partition {
            topic: "rows".into(),
            number: 3,
        };
        let attempt = Attempt::of(Record::new(partition.clone(), 7, 0, None, None, &[]));
        for (outcome, word) in [
            (AttemptOutcome::Attempting, "attempting"),
            (AttemptOutcome::Failed, "failed"),
            (AttemptOutcome::Deferred, "put-off"),
            (AttemptOutcome::Sent, "sent"),
            (AttemptOutcome::Unknown, "uncertain"),
            (AttemptOutcome::DeadLettered, "given-up"),
        ] {
            let entry = JournalEntry {
                at: Timestamp::UNIX_EPOCH,
                reason: "code".to_owned(),
                ..JournalEntry::now(outcome, &attempt, 1).with_detail("text")
            };
            let position = r#"{"topic":"rows","partition":3,"offset":7}"#;
            let text = format!(
                r#"{{"record":{position},"read":{position},"outcome":"{word}","attempt":1,"doubts":1,"at":"1970-01-01T00:00:00Z","reason":"code","detail":"text"}}"#
            );
            let value = entry.clone().into_value(&attempt);
            assert_eq!(str::from_utf8(&value), Ok(text.as_str()));
            let key = Some(b"id".as_slice());
            let record = Record::new(partition.clone(), 0, 0, key, Some(&value), &[]);
            let read = RecordedEntry::of(&record).expect("an entry");
            assert_eq!(
                (read.entry, read.read),
                (entry, attempt.key.position.clone())
            );
        }
    }
}
