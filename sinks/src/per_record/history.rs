//! What was read back of a journal about records that the consumer group has not passed.

use std::collections::{HashMap, VecDeque};

use formline_core::kafka::record::Partition;
use jiff::Timestamp;

use super::{
    attempt::{Attempt, AttemptKey, RecordPosition},
    entry::{JournalEntry, RecordedEntry},
};

/// What a journal says about records that the consumer group has not passed.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The next offset of each partition.
    next: HashMap<(String, i32), i64>,
    /// The entry of each record that counts.
    last: HashMap<AttemptKey, JournalEntry>,
    /// Since when all entries are kept.
    since: Timestamp,
    recent: VecDeque<RecordedEntry>,
    /// More records than the limit have entries.
    is_truncated: bool,
}

/// Limit of records with entries; about 300 bytes each. A sink commits as it delivers, so few
/// records are beyond its offsets, unless Kafka has lost these. At the limit the sink stops,
/// because with an incomplete history it would repeat effects.
const MAX_RECORDS: usize = 1_000_000;

/// Limit of entries that are kept only because they are recent; at the limit the oldest is dropped.
const MAX_RECENT: usize = 100_000;

// === impl History ===

impl History {
    /// Keeps entries about records from these offsets on, and all entries since a time.
    pub(super) fn new(next: &[(Partition, Option<i64>)], since: Timestamp) -> Self {
        let next = next.iter().map(|(partition, offset)| {
            let partition = (partition.topic.to_string(), partition.number);
            (partition, offset.unwrap_or_default())
        });
        Self {
            next: next.collect(),
            since,
            ..Self::default()
        }
    }

    /// The entry that counts of those about the record of an attempt.
    pub(crate) fn last_entry(&self, attempt: &Attempt) -> Option<JournalEntry> {
        self.last.get(&attempt.key).cloned()
    }

    /// Every entry since the given time, oldest first. Each is returned once.
    pub(crate) fn take_recent(&mut self) -> Vec<RecordedEntry> {
        let mut recent: Vec<RecordedEntry> = std::mem::take(&mut self.recent).into();
        recent.sort_by_key(|recorded| recorded.entry.at);
        recent
    }

    pub(super) fn is_complete(&self) -> bool {
        !self.is_truncated
    }

    pub(super) fn extend(&mut self, recorded: Option<RecordedEntry>) {
        let Some(recorded) = recorded else {
            return;
        };
        if recorded.entry.at >= self.since {
            if self.recent.len() == MAX_RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(recorded.clone());
        }
        if self.is_ahead(&recorded.read) || self.is_ahead(&recorded.key.position) {
            self.keep(recorded, MAX_RECORDS);
        }
    }

    /// Whether the group has not passed the record at a position.
    fn is_ahead(&self, position: &RecordPosition) -> bool {
        let next = self.next.get(&(position.topic.clone(), position.partition));
        next.is_some_and(|next| position.offset >= *next)
    }

    fn keep(&mut self, RecordedEntry { key, entry, .. }: RecordedEntry, limit: usize) {
        if self.last.len() >= limit && !self.last.contains_key(&key) {
            self.is_truncated = true;
            return;
        }
        entry.keep_latest(&mut self.last, key);
    }
}

#[cfg(test)]
mod tests {
    use formline_core::Record;

    use super::{super::entry::AttemptOutcome, *};

    fn attempt(offset: i64) -> Attempt {
        let partition = Partition {
            topic: "rows".into(),
            number: 0,
        };
        Attempt::of(Record::new(partition, offset, 0, None, None, &[]))
    }

    fn history() -> History {
        let from = [(attempt(0).partition, Some(5))];
        History::new(&from, Timestamp::MAX)
    }

    fn recorded(
        offset: i64,
        outcome: AttemptOutcome,
        number: u32,
        detail: &str,
    ) -> Option<RecordedEntry> {
        let mut attempt = attempt(offset);
        attempt.number = number;
        Some(RecordedEntry {
            key: attempt.key.clone(),
            read: attempt.key.position.clone(),
            entry: JournalEntry::now(outcome, &attempt, 0).with_detail(detail),
        })
    }

    #[test]
    fn the_final_entry_of_a_record_counts_or_else_the_last_attempt() {
        use AttemptOutcome::{Attempting, Deferred, Failed, Sent};
        let mut history = history();
        history.extend(recorded(5, Sent, 1, "sent"));
        history.extend(recorded(5, Deferred, 2, "a second chain of attempts"));
        history.extend(recorded(6, Failed, 3, "third"));
        history.extend(recorded(6, Failed, 1, "first"));
        history.extend(recorded(7, Failed, 1, "first"));
        history.extend(recorded(7, Attempting, 1, "again"));
        let detail = |offset| {
            let last = history.last_entry(&attempt(offset));
            last.map(|entry| entry.detail)
        };
        let expected = ["sent", "third", "again"].map(|detail| Some(detail.to_owned()));
        assert_eq!([5, 6, 7].map(detail), expected);
    }

    #[test]
    fn passed_records_are_dropped_and_too_many_records_are_detected() {
        let sent = |offset| recorded(offset, AttemptOutcome::Sent, 1, "").expect("an entry");
        let mut history = history();
        history.extend(None);
        history.extend(Some(sent(4)));
        assert_eq!(history.last_entry(&attempt(4)), None);
        for offset in [5, 6, 5] {
            history.keep(sent(offset), 2);
        }
        assert!(history.is_complete());
        history.keep(sent(7), 2);
        assert!(!history.is_complete());
    }
}
