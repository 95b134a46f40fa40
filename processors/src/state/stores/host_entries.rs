//! Entries that the host keeps for itself: schemas, the submissions received, and the offsets of
//! inputs.

use std::time::Instant;

use formline_core::{
    Record,
    event::dedup::{self, KeyedSubmission},
};

use super::partition_stores::{StoreFailed, Stores};
use crate::state::{
    entry::{self, Entry},
    schema::StoreSchema,
};

/// The minimum number of expired entries that are deleted with each batch, so that idle times are
/// used, too.
const EXPIRED_PER_BATCH: usize = 1000;

/// How long after its expiry an entry is deleted. Events of different inputs and partitions arrive
/// out of order; an event that is late by less than this still sees the entry until its exact
/// expiry.
const LATE_MS: i64 = 60 * 60 * 1000;

/// Prefixes of the host's own keys: the schema of a store, and the offset of an input.
const SCHEMA: &str = "schema/";
const INPUT: &str = "input/";

// === impl Stores ===

impl Stores {
    /// Ends the current event: further changes are the host's own.
    pub(crate) fn end_events(&mut self) {
        self.event = None;
    }

    /// Sets the time that decides which entries have expired, in milliseconds since 1970.
    pub(crate) fn set_time(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.newest_ms = self.newest_ms.max(now_ms);
    }

    /// The schema of a store's entries; none for a new store.
    pub(crate) fn schema(&mut self, store: &str) -> Result<Option<StoreSchema>, StoreFailed> {
        let key = entry::key("", format!("{SCHEMA}{store}").as_bytes());
        let found = self.look(&key)?;
        Ok(found.and_then(|entry| StoreSchema::from_bytes(&entry.value)))
    }

    pub(crate) fn set_schema(&mut self, store: &str, schema: &StoreSchema) {
        let key = entry::key("", format!("{SCHEMA}{store}").as_bytes());
        let bytes = self.coverage.bytes;
        self.change(key, Some(Entry::new(schema.to_bytes())), bytes);
    }

    /// The offset of an input before which the entries contain its effects; none if they contain
    /// none.
    pub(crate) fn input(&mut self, topic: &str) -> Result<Option<i64>, StoreFailed> {
        let found = self.look(&entry::key("", format!("{INPUT}{topic}").as_bytes()))?;
        let bytes = found.and_then(|entry| entry.value.try_into().ok());
        Ok(bytes.map(i64::from_be_bytes))
    }

    /// Records that the entries contain the effects of an input before this offset. Kafka deletes
    /// the offsets of a group after a week of inactivity, and an operator can reset them; the
    /// effects must not be applied twice.
    pub(crate) fn set_input(&mut self, topic: &str, next: i64) {
        let key = entry::key("", format!("{INPUT}{topic}").as_bytes());
        let bytes = self.coverage.bytes;
        self.change(key, Some(Entry::new(next.to_be_bytes().to_vec())), bytes);
    }

    /// Deletes a part of the entries that expired long ago: more than a batch of `events` can add.
    pub(crate) fn delete_expired(&mut self, events: usize) -> Result<(), StoreFailed> {
        let horizon = self.newest_ms - LATE_MS;
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let expired = file.expired(horizon, EXPIRED_PER_BATCH.max(2 * events));
        for key in self.note(expired)? {
            let found = self.look(&key)?;
            if found.is_none_or(|entry| entry.is_alive(horizon)) {
                continue;
            }
            if entry::is_local(&key) {
                self.set(key, None);
            } else {
                self.remove(key)?;
            }
        }
        Ok(())
    }

    /// Whether the same submission exists at a lower offset of its topic. The first record of a
    /// submission is never a repetition, however often it is read, so nothing has to be rolled
    /// back.
    pub(crate) fn is_repetition(
        &mut self,
        keyed: &KeyedSubmission,
        record: &Record,
    ) -> Result<bool, StoreFailed> {
        let key = entry::submission(&record.partition.topic, keyed.id);
        let time = keyed.timestamp_ms;
        if let Some(Entry { value, expires_ms }) = self.look(&key)?
            && let Ok(first) = value.try_into().map(i64::from_be_bytes)
            && first <= record.offset
            && expires_ms.is_some_and(|end| time <= end)
        {
            return Ok(first < record.offset);
        }
        let entry = Entry {
            value: record.offset.to_be_bytes().to_vec(),
            expires_ms: Some(time + dedup::window_ms()),
        };
        self.set(key, Some(entry));
        Ok(false)
    }

    /// The offset of the topic before which all keyed submissions are known.
    pub(crate) fn submissions_known(&self, topic: &str) -> Option<i64> {
        self.coverage.submissions.get(topic).copied()
    }

    /// Records that all keyed submissions of the topic before `next` are known.
    pub(crate) fn know_submissions(&mut self, topic: &str, next: i64) {
        self.changed_since.get_or_insert_with(Instant::now);
        self.renew();
        match self.coverage.submissions.get_mut(topic) {
            Some(known) => *known = next,
            None => drop(self.coverage.submissions.insert(topic.to_owned(), next)),
        }
    }
}
