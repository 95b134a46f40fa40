//! Which submissions with an `Idempotency-Key` a partition holds already. Only they can be in the log twice (an answer
//! was lost, a process died, two processes took one key); whoever consumes a form's topic drops the second one.
//!
//! The log itself is the memory: what a consumer must know at its committed offset stands before that offset.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use crate::{
    client::{self, Client},
    event::header,
    id::EventId,
    reader::{From, Range, Reader},
    record::Record,
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

/// Reads what consumers must know of a topic before they go on at their committed offsets: all its keyed submissions of
/// the window before.
pub struct Recall {
    client: Client,
    topic: String,
    next: BTreeMap<i32, i64>,
    known: BTreeMap<i32, Duplicates>,
    /// The time of the record at which each consumer goes on; none once they are all known.
    times: Option<BTreeMap<i32, i64>>,
    reader: Reader,
}

/// How long a repetition is recognised. Clients are told so in the documentation of `Idempotency-Key`.
pub const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// At most so many ids are known of a partition, about 100 MiB; beyond, the oldest are forgotten before their time.
const LIMIT: usize = 1_000_000;

// === impl Keyed ===

impl Keyed {
    /// What the record says, if it is a keyed submission. A replayed one is none: it must not be dropped, and if its key
    /// is free again, it must not take the place of the next submission.
    pub fn of(record: &Record) -> Option<Self> {
        if record.header(header::REPLAY_FOR).is_some() {
            return None;
        }
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

    /// Gives every keyed submission of the last window to `visit`, in order within each partition. Blocks the thread until
    /// the end of the topic is reached or `proceed` says no.
    pub fn read(
        client: &Client,
        topic: &str,
        proceed: impl Fn() -> bool,
        mut visit: impl FnMut(Self, &Record),
    ) -> Result<(), client::Error> {
        let now = jiff::Timestamp::now().as_millisecond();
        let mut reader = Reader::open(client, topic, &[], From::Time(now - window_ms()))?;
        reader.read_to_end(proceed, |record| {
            if let Some(keyed) = Self::of(&record) {
                visit(keyed, &record);
            }
        })
    }
}

// === impl Recall ===

impl Recall {
    /// For consumers that go on at these offsets of the topic's partitions. Blocks while it asks Kafka.
    pub fn begin(
        client: &Client,
        topic: &str,
        next: BTreeMap<i32, i64>,
    ) -> Result<Self, client::Error> {
        let ranges = next.iter().map(|(partition, next)| Range {
            partition: *partition,
            from: From::Offset(*next),
            // The range ends with the first record that it has.
            until: Some(next + 1),
        });
        let reader = Reader::open_ranges(client, topic, ranges.collect())?;
        let known = next
            .keys()
            .map(|partition| (*partition, Duplicates::default()));
        Ok(Self {
            client: client.clone(),
            topic: topic.to_owned(),
            known: known.collect(),
            next,
            times: Some(BTreeMap::new()),
            reader,
        })
    }

    /// Reads for about as long as `limit`; true when everything is known. Blocks the thread.
    pub fn advance(&mut self, limit: Duration) -> Result<bool, client::Error> {
        if let Some(times) = &mut self.times {
            let note = |record: Record| {
                let time = times.entry(record.partition.number);
                time.or_insert(record.timestamp_ms);
            };
            if self.reader.advance(limit, note)? {
                self.begin_windows()?;
            }
            return Ok(false);
        }
        let (known, next) = (&mut self.known, &self.next);
        self.reader.advance(limit, |record| {
            let partition = record.partition.number;
            let (Some(keyed), Some(known)) = (Keyed::of(&record), known.get_mut(&partition)) else {
                return;
            };
            if next
                .get(&partition)
                .is_some_and(|next| record.offset < *next)
            {
                known.note(keyed.id, keyed.timestamp_ms, record.offset);
            }
        })
    }

    /// What was read, by partition.
    pub fn finish(self) -> BTreeMap<i32, Duplicates> {
        self.known
    }

    /// The window of each partition ends with the record at which its consumer goes on, and not now: a consumer that was
    /// away for days would forget what stands just before its offset.
    fn begin_windows(&mut self) -> Result<(), client::Error> {
        let now = jiff::Timestamp::now().as_millisecond();
        let times = self.times.take().unwrap_or_default();
        let ranges = self.next.iter().map(|(partition, next)| {
            let end_ms = times.get(partition).copied().unwrap_or(now);
            Range {
                partition: *partition,
                from: From::Time(end_ms - window_ms()),
                until: Some(*next),
            }
        });
        self.reader = Reader::open_ranges(&self.client, &self.topic, ranges.collect())?;
        Ok(())
    }
}

impl std::fmt::Debug for Recall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recall")
            .field("topic", &self.topic)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

// === impl Duplicates ===

impl Duplicates {
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
