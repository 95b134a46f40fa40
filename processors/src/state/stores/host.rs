//! What the host keeps among the entries for itself: schemas, submissions that were there already, and order.

use std::time::Instant;

use formline_core::{
    Record,
    duplicates::{self, Keyed},
};

use super::{Broken, Stores};
use crate::state::{
    entry::{self, Entry},
    schema::Schema,
};

/// At least so many ended entries are deleted with a batch, so that idle hours are used as well.
const SWEEP: usize = 1000;

/// An entry is deleted so long after its end: events of several inputs and partitions come in another order than they
/// were made, and those that are late by less see it exactly until its end.
const LATE_MS: i64 = 60 * 60 * 1000;

/// Prefixes of the host's own entries: the schema of a store, and how far the entries contain an input.
const SCHEMA: &str = "schema/";
const INPUT: &str = "input/";

// === impl Stores ===

impl Stores {
    /// No event comes next: what changes is the host's doing.
    pub(crate) fn end_events(&mut self) {
        self.event = None;
    }

    /// What is alive is decided by this time, in milliseconds since 1970.
    pub(crate) fn set_time(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.newest_ms = self.newest_ms.max(now_ms);
    }

    /// The schema of a store's entries; none if nobody has said it yet.
    pub(crate) fn schema(&mut self, store: &str) -> Result<Option<Schema>, Broken> {
        let key = entry::key("", format!("{SCHEMA}{store}").as_bytes());
        let found = self.look(&key)?;
        Ok(found.and_then(|entry| Schema::from_bytes(&entry.value)))
    }

    pub(crate) fn set_schema(&mut self, store: &str, schema: &Schema) {
        let key = entry::key("", format!("{SCHEMA}{store}").as_bytes());
        let bytes = self.origin.bytes;
        self.change(key, Some(Entry::new(schema.to_bytes())), bytes);
    }

    /// The offset of an input at which the step goes on; none if nothing that came of it is among the entries.
    pub(crate) fn input(&mut self, topic: &str) -> Result<Option<i64>, Broken> {
        let found = self.look(&entry::key("", format!("{INPUT}{topic}").as_bytes()))?;
        let bytes = found.and_then(|entry| entry.value.try_into().ok());
        Ok(bytes.map(i64::from_be_bytes))
    }

    /// The entries contain what came of an input before this offset. Kafka forgets the offsets of a group that was away
    /// for a week, and an operator can reset them; the entries must not count those events twice.
    pub(crate) fn set_input(&mut self, topic: &str, next: i64) {
        let key = entry::key("", format!("{INPUT}{topic}").as_bytes());
        let bytes = self.origin.bytes;
        self.change(key, Some(Entry::new(next.to_be_bytes().to_vec())), bytes);
    }

    /// Deletes entries that ended long ago, a part of them with each call: more than so many events can add.
    pub(crate) fn sweep(&mut self, events: usize) -> Result<(), Broken> {
        let horizon = self.newest_ms - LATE_MS;
        let Some(disk) = &mut self.disk else {
            return Ok(());
        };
        let ended = disk.ended(horizon, SWEEP.max(2 * events));
        for key in self.note(ended)? {
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

    /// Whether the same submission stands at a lower offset of its topic. The first record of a submission is no
    /// repetition, however often it is read; so nothing of this needs to be undone.
    pub(crate) fn is_repetition(&mut self, keyed: &Keyed, record: &Record) -> Result<bool, Broken> {
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
            expires_ms: Some(time + duplicates::window_ms()),
        };
        self.set(key, Some(entry));
        Ok(false)
    }

    /// The offset of the topic before which all keyed submissions are known.
    pub(crate) fn submissions_known(&self, topic: &str) -> Option<i64> {
        self.origin.submissions.get(topic).copied()
    }

    /// All keyed submissions of the topic before `next` are known.
    pub(crate) fn know_submissions(&mut self, topic: &str, next: i64) {
        self.changed_since.get_or_insert_with(Instant::now);
        self.renew();
        match self.origin.submissions.get_mut(topic) {
            Some(known) => *known = next,
            None => drop(self.origin.submissions.insert(topic.to_owned(), next)),
        }
    }
}
