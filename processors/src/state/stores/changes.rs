//! Changes, and how they are rolled back, until Kafka has them.

use std::{collections::BTreeMap, mem, time::Instant};

use formline_core::{EventId, event::provenance::Provenance};

use super::{
    partition_stores::{StoreFailed, Stores},
    undo::{ChangelogEntry, Savepoint, UndoEntry},
};
use crate::state::entry::Entry;

/// What a change occupies in memory in addition to its own bytes.
const OVERHEAD: usize = 96;

// === impl Stores ===

impl Stores {
    /// The present point.
    pub(crate) fn savepoint(&self) -> Savepoint {
        Savepoint(self.undo.len())
    }

    /// Undoes all changes since the savepoint.
    pub(crate) fn roll_back(&mut self, to: Savepoint) {
        while self.undo.len() > to.0 {
            let change = self.undo.pop().expect("it is longer than the savepoint");
            self.coverage.bytes = change.bytes_before;
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

    /// The changes since the last commit, each key once.
    pub(crate) fn changes(&self) -> impl Iterator<Item = ChangelogEntry<'_>> {
        let mut causes: BTreeMap<&[u8], BTreeMap<&str, Vec<i64>>> = BTreeMap::new();
        for change in &self.undo {
            let of_key = causes.entry(&change.key).or_default();
            if let Some((topic, offset)) = &change.cause {
                of_key.entry(topic).or_default().push(*offset);
            }
        }
        causes.into_iter().map(|(key, causes)| {
            let causes = causes.into_iter();
            ChangelogEntry {
                key,
                entry: self.changed.get(key).and_then(Option::as_ref),
                causes: causes
                    .map(|(topic, offsets)| Provenance::new(topic, offsets))
                    .collect(),
            }
        })
    }

    /// The changelog's id, for the headers of its records.
    pub(crate) fn generation(&self) -> Option<EventId> {
        self.coverage.generation
    }

    /// Records that the changes are in Kafka. `changelog_end` is the changelog offset after the
    /// last of them, if there were any.
    pub(crate) fn commit(&mut self, changelog_end: Option<i64>) {
        self.undo.clear();
        self.renew();
        self.coverage.next = changelog_end.unwrap_or(self.coverage.next);
    }

    /// Changes an entry so that it can be rolled back. `bytes` is the size of all entries
    /// afterwards.
    pub(super) fn change(&mut self, key: Vec<u8>, entry: Option<Entry>, bytes: u64) {
        let bytes_before = mem::replace(&mut self.coverage.bytes, bytes);
        let before = self.set(key.clone(), entry);
        self.undo.push(UndoEntry {
            key,
            before,
            bytes_before,
            cause: self.event.clone(),
        });
    }

    /// Changes an entry for good, and returns the previous change of the same key.
    pub(super) fn set(&mut self, key: Vec<u8>, entry: Option<Entry>) -> Option<Option<Entry>> {
        self.changed_since.get_or_insert_with(Instant::now);
        let value = entry.as_ref().map_or(0, |entry| entry.value.len());
        self.changed_bytes += key.len() + value + OVERHEAD;
        self.changed.insert(key, entry)
    }

    /// The entry of a key, expired or not.
    pub(super) fn look(&mut self, key: &[u8]) -> Result<Option<Entry>, StoreFailed> {
        if let Some(changed) = self.changed.get(key) {
            return Ok(changed.clone());
        }
        let found = self.file.as_ref().map(|file| file.get(key)).transpose();
        Ok(self.note(found)?.flatten())
    }
}
