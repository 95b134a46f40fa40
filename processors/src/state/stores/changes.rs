//! What has changed, and the way back, until Kafka has it.

use std::{collections::BTreeMap, mem, sync::Arc, time::Instant};

use formline_core::{EventId, cause::Cause};

use super::{Broken, Stores};
use crate::state::entry::Entry;

/// How a key was before a change.
#[derive(Debug)]
pub(super) struct Change {
    key: Vec<u8>,
    /// None if the file says what it was.
    before: Option<Option<Entry>>,
    bytes_before: u64,
    /// The event that has made it; none if it was the host.
    cause: Option<(Arc<str>, i64)>,
}

/// A change as the changelog tells it.
#[derive(Debug)]
pub(crate) struct Logged<'a> {
    pub(crate) key: &'a [u8],
    /// None for a deletion.
    pub(crate) entry: Option<&'a Entry>,
    /// The events that have made it, by topic.
    pub(crate) causes: Vec<Cause>,
}

/// A point to return to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark(usize);

/// What a change costs in memory besides its bytes.
const CHANGE: usize = 96;

// === impl Mark ===

impl Mark {
    /// Where the transaction began.
    pub(crate) const START: Self = Self(0);
}

// === impl Stores ===

impl Stores {
    /// The present point.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.undo.len())
    }

    /// Undoes everything since the mark.
    pub(crate) fn roll_back(&mut self, to: Mark) {
        while self.undo.len() > to.0 {
            let change = self.undo.pop().expect("it is longer than the mark");
            self.origin.bytes = change.bytes_before;
            match change.before {
                Some(entry) => drop(self.set(change.key, entry)),
                None => drop(self.changed.remove(&change.key)),
            }
        }
    }

    /// Whether anything has changed since the last commit.
    pub(crate) fn has_changes(&self) -> bool {
        !self.undo.is_empty()
    }

    /// What has changed since the last commit, each key once.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Logged<'_>> {
        let mut causes: BTreeMap<&[u8], BTreeMap<&str, Vec<i64>>> = BTreeMap::new();
        for change in &self.undo {
            let of_key = causes.entry(&change.key).or_default();
            if let Some((topic, offset)) = &change.cause {
                of_key.entry(topic).or_default().push(*offset);
            }
        }
        causes.into_iter().map(|(key, causes)| {
            let causes = causes.into_iter();
            Logged {
                key,
                entry: self.changed.get(key).and_then(Option::as_ref),
                causes: causes
                    .map(|(topic, offsets)| Cause::of(topic, offsets))
                    .collect(),
            }
        })
    }

    /// The changelog's id, for the headers of its records.
    pub(crate) fn generation(&self) -> Option<EventId> {
        self.origin.generation
    }

    /// The changes are in Kafka, the last of them before this offset of the changelog, if there was one.
    pub(crate) fn commit(&mut self, changelog_end: Option<i64>) {
        self.undo.clear();
        self.renew();
        self.origin.next = changelog_end.unwrap_or(self.origin.next);
    }

    pub(super) fn change(&mut self, key: Vec<u8>, entry: Option<Entry>, bytes: u64) {
        let bytes_before = mem::replace(&mut self.origin.bytes, bytes);
        let before = self.set(key.clone(), entry);
        self.undo.push(Change {
            key,
            before,
            bytes_before,
            cause: self.event.clone(),
        });
    }

    pub(super) fn set(&mut self, key: Vec<u8>, entry: Option<Entry>) -> Option<Option<Entry>> {
        self.changed_since.get_or_insert_with(Instant::now);
        let value = entry.as_ref().map_or(0, |entry| entry.value.len());
        self.changed_bytes += key.len() + value + CHANGE;
        self.changed.insert(key, entry)
    }

    pub(super) fn look(&mut self, key: &[u8]) -> Result<Option<Entry>, Broken> {
        if let Some(changed) = self.changed.get(key) {
            return Ok(changed.clone());
        }
        let found = self.disk.as_ref().map(|disk| disk.get(key)).transpose();
        Ok(self.note(found)?.flatten())
    }
}
