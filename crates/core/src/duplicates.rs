//! Which submissions with an `Idempotency-Key` a partition holds already. Only they can be in the log twice (an answer
//! was lost, a process died, two processes took one key); whoever consumes a form's topic drops the second one.
//!
//! The log itself is the memory: what a consumer must know at its committed offset stands before that offset.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use crate::{
    client::{self, Client},
    event::header,
    id::EventId,
    reader::{From, Reader},
    record::{Partition, Record},
};

/// A submission that is in the log, as far as an answer to its repetition needs it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keyed {
    /// Its id, derived from form and key.
    pub id: EventId,
    /// Hash of its body.
    pub fingerprint: String,
    /// `ce_time` of its first record.
    pub time: String,
    timestamp_ms: i64,
}

/// The keyed submissions of one partition within the window.
#[derive(Debug, Default)]
pub struct Duplicates {
    first_offset: HashMap<EventId, (i64, i64)>,
    by_time: BTreeSet<(i64, EventId)>,
}

/// How long a repetition is recognised. Clients are told so in the documentation of `Idempotency-Key`.
pub const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// At most so many ids are known of a partition, about 100 MiB; beyond, the oldest are forgotten before their time.
const LIMIT: usize = 1_000_000;

// === impl Keyed ===

impl Keyed {
    /// What the record says, if it is a keyed submission.
    pub fn of(record: &Record) -> Option<Self> {
        Some(Self {
            fingerprint: record.text_header(header::FINGERPRINT)?.to_owned(),
            id: record.text_header(header::ID)?.parse().ok()?,
            time: record
                .text_header(header::TIME)
                .unwrap_or_default()
                .to_owned(),
            timestamp_ms: record.timestamp_ms,
        })
    }

    /// Gives every keyed submission of the window to `visit`, in order within each partition. No partitions means
    /// all. Blocks the thread until the end of the topic is reached or `proceed` says no.
    pub fn read(
        client: &Client,
        topic: &str,
        partitions: &[i32],
        proceed: impl Fn() -> bool,
        visit: impl FnMut(Self, &Record),
    ) -> Result<(), client::Error> {
        let now = jiff::Timestamp::now().as_millisecond();
        Self::read_before(client, topic, partitions, now, proceed, visit)
    }

    /// The same with the window that ends at `time_ms`, up to the end of the topic nevertheless.
    fn read_before(
        client: &Client,
        topic: &str,
        partitions: &[i32],
        time_ms: i64,
        proceed: impl Fn() -> bool,
        mut visit: impl FnMut(Self, &Record),
    ) -> Result<(), client::Error> {
        let begin = From::Time(time_ms - window_ms());
        let mut reader = Reader::open(client, topic, partitions, begin)?;
        reader.read_to_end(proceed, |record| {
            if let Some(keyed) = Self::of(&record) {
                visit(keyed, &record);
            }
        })
    }
}

// === impl Duplicates ===

impl Duplicates {
    /// Reads what a consumer that goes on at offset `next` must know: the window ends at that record's time and not
    /// now, or a consumer that was away for days would forget what stands just before its offset. Blocks the thread
    /// until the end of the partition is reached; if `proceed` says no, what is returned is incomplete.
    pub fn before(
        client: &Client,
        partition: &Partition,
        next: i64,
        proceed: impl Fn() -> bool,
    ) -> Result<Self, client::Error> {
        let (topic, number) = (&*partition.topic, partition.number);
        let mut first = Reader::open(client, topic, &[number], From::Offset(next))?;
        let mut record = None;
        while record.is_none() && !first.is_at_end() && proceed() {
            record = first.next(Duration::from_millis(100))?;
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let time_ms = record.map_or(now, |record| record.timestamp_ms);
        let mut known = Self::default();
        Keyed::read_before(
            client,
            topic,
            &[number],
            time_ms,
            proceed,
            |keyed, record| {
                known.note(keyed.id, keyed.timestamp_ms, record.offset);
            },
        )?;
        Ok(known)
    }

    /// Whether the same submission stands at a lower offset. The first record of a submission is never a duplicate,
    /// however often it is read.
    pub fn is_duplicate(&mut self, record: &Record) -> bool {
        let Some(keyed) = Keyed::of(record) else {
            return false;
        };
        self.note(keyed.id, keyed.timestamp_ms, record.offset) < record.offset
    }

    /// Returns the lowest offset at which the id stands.
    fn note(&mut self, id: EventId, timestamp_ms: i64, offset: i64) -> i64 {
        let known = self.first_offset.get(&id).copied();
        if let Some((first, time)) = known {
            if timestamp_ms - time <= window_ms() && first <= offset {
                return first;
            }
            self.by_time.remove(&(time, id));
        }
        self.first_offset.insert(id, (offset, timestamp_ms));
        self.by_time.insert((timestamp_ms, id));
        self.forget(timestamp_ms - window_ms());
        offset
    }

    fn forget(&mut self, before_ms: i64) {
        while let Some((time, id)) = self.by_time.first().copied() {
            if time >= before_ms && self.by_time.len() <= LIMIT {
                break;
            }
            self.by_time.pop_first();
            self.first_offset.remove(&id);
        }
    }
}

fn window_ms() -> i64 {
    i64::try_from(WINDOW.as_millis()).expect("a day in milliseconds fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_of_a_key_stays_the_first_however_often_it_is_read() {
        let mut known = Duplicates::default();
        let id = EventId::keyed("form", "key");
        assert_eq!(known.note(id, 1_000, 7), 7);
        assert_eq!(known.note(id, 2_000, 9), 7, "a repetition");
        assert_eq!(
            known.note(id, 1_000, 7),
            7,
            "the first, read again after a crash"
        );
    }

    #[test]
    fn a_key_is_free_again_after_the_window() {
        let mut known = Duplicates::default();
        let (id, other) = (
            EventId::keyed("form", "key"),
            EventId::keyed("form", "other"),
        );
        known.note(id, 0, 1);
        known.note(other, window_ms() + 1, 2);
        assert_eq!(known.note(id, window_ms() + 2, 3), 3);
        assert_eq!(known.by_time.len(), 2);
    }
}
