//! What was read back of a journal: what is to be known of records that are still to come.

use std::collections::{HashMap, VecDeque};

use formline_core::record::Partition;
use jiff::Timestamp;

use super::{Entry, Noted};
use crate::attempt::{Attempt, Chain, Place};

/// What was noted about records that the sink's group has not passed.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Where each partition goes on.
    next: HashMap<(String, i32), i64>,
    /// Of each chain of attempts the entry that counts.
    last: HashMap<Chain, Entry>,
    /// Since when everything is kept.
    since: Timestamp,
    recent: VecDeque<Noted>,
    /// More than fits.
    has_more: bool,
}

/// Chains of attempts; some 300 bytes each. A sink commits as it goes, so few records lie behind its offsets; only if Kafka
/// has forgotten these can there be so many. Then the sink stops: without knowing all it would do things twice.
const MOST: usize = 1_000_000;

/// Entries that are kept for their time alone; at the bound the oldest goes.
const RECENT: usize = 100_000;

// === impl Past ===

impl Past {
    /// Keeps what matters from these offsets on, and everything since a time.
    pub(super) fn new(next: &[(Partition, Option<i64>)], since: Timestamp) -> Self {
        let next = next.iter().map(|(partition, offset)| {
            let place = (partition.topic.to_string(), partition.number);
            (place, offset.unwrap_or_default())
        });
        Self {
            next: next.collect(),
            since,
            ..Self::default()
        }
    }

    /// What counts of what was noted about the record of an attempt.
    pub(crate) fn of(&self, attempt: &Attempt) -> Option<Entry> {
        if self.last.is_empty() {
            return None;
        }
        self.last.get(&attempt.chain()).cloned()
    }

    /// Every entry since the time that it was asked for, oldest first.
    pub(crate) fn recent(&mut self) -> Vec<Noted> {
        let mut recent: Vec<Noted> = std::mem::take(&mut self.recent).into();
        recent.sort_by_key(|noted| noted.entry.at);
        recent
    }

    pub(super) fn is_whole(&self) -> bool {
        !self.has_more
    }

    pub(super) fn extend(&mut self, noted: Option<Noted>) {
        let Some(noted) = noted else {
            return;
        };
        if noted.entry.at >= self.since {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(noted.clone());
        }
        if self.is_ahead(&noted.read) || self.is_ahead(&noted.chain.place) {
            self.count(noted, MOST);
        }
    }

    /// Whether the record at a place is still to come.
    fn is_ahead(&self, place: &Place) -> bool {
        let next = self.next.get(&(place.topic.clone(), place.partition));
        next.is_some_and(|next| place.offset >= *next)
    }

    fn count(&mut self, Noted { chain, entry, .. }: Noted, most: usize) {
        if self.last.len() >= most && !self.last.contains_key(&chain) {
            self.has_more = true;
            return;
        }
        entry.count(&mut self.last, chain);
    }
}

#[cfg(test)]
mod tests {
    use formline_core::Record;

    use super::{super::Outcome, *};

    fn attempt(offset: i64) -> Attempt {
        let partition = Partition {
            topic: "rows".into(),
            number: 0,
        };
        Attempt::of(Record::new(partition, offset, 0, None, None, &[]))
    }

    fn past() -> Past {
        let from = [(attempt(0).partition, Some(5))];
        Past::new(&from, Timestamp::MAX)
    }

    fn noted(offset: i64, outcome: Outcome, number: u32, detail: &str) -> Option<Noted> {
        let mut attempt = attempt(offset);
        attempt.number = number;
        Some(Noted {
            chain: attempt.chain(),
            read: attempt.chain().place,
            entry: Entry::now(outcome, &attempt, 0).with_detail(detail),
        })
    }

    #[test]
    fn the_final_entry_of_a_record_counts_and_else_the_last_attempt() {
        let mut past = past();
        past.extend(noted(5, Outcome::Sent, 1, "taken"));
        past.extend(noted(5, Outcome::PutOff, 2, "a second chain"));
        past.extend(noted(6, Outcome::Failed, 3, "third"));
        past.extend(noted(6, Outcome::Failed, 1, "first"));
        past.extend(noted(7, Outcome::Failed, 1, "first"));
        past.extend(noted(7, Outcome::Attempting, 1, "again"));
        let details = [5, 6, 7].map(|offset| past.of(&attempt(offset)).map(|entry| entry.detail));
        let expected = ["taken", "third", "again"].map(|detail| Some(detail.to_owned()));
        assert_eq!(details, expected);
    }

    #[test]
    fn what_lies_behind_is_not_kept_and_too_much_is_found_out() {
        let mut past = past();
        past.extend(None);
        past.extend(noted(4, Outcome::Sent, 1, ""));
        assert_eq!(past.of(&attempt(4)), None);
        for offset in [5, 6] {
            past.count(noted(offset, Outcome::Sent, 1, "").expect("an entry"), 2);
        }
        past.count(noted(5, Outcome::Sent, 1, "").expect("an entry"), 2);
        assert!(past.is_whole());
        past.count(noted(7, Outcome::Sent, 1, "").expect("an entry"), 2);
        assert!(!past.is_whole());
    }
}
