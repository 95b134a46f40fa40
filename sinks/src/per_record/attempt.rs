//! One attempt to deliver a record. A record whose next attempt is due later is deferred: it waits
//! in the retries topic of the sink, which has one partition for each delay, so that it holds up
//! only records that are due later.

use std::{hash::Hasher as _, time::Duration};

use formline_core::{
    Record,
    event::{self, header},
    kafka::record::{Headers, OutgoingRecord, Partition},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A record, and how far its delivery is.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The record as it was read first, wherever it waits now.
    pub(crate) record: Record,
    /// What the journal knows the record by.
    pub(crate) key: AttemptKey,
    /// When the submission was accepted.
    pub(crate) accepted: Timestamp,
    /// The partition that it was read from now: of an input, or of the retries topic.
    pub(crate) partition: Partition,
    /// Its offset there.
    pub(crate) offset: i64,
    /// Number of the attempt, from 1.
    pub(crate) number: u32,
    /// Earlier attempts whose outcome is unknown.
    pub(crate) unknown_outcomes: u32,
    /// When the attempt is due, in milliseconds since 1970.
    due: i64,
}

/// Identifies the attempts to deliver one record. The id alone does not: it can come again when the
/// key of a form is used again after a day, or when a dead letter is replayed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct AttemptKey {
    pub(crate) id: Vec<u8>,
    /// Where the record was read first.
    pub(crate) position: RecordPosition,
}

/// The position of a record in Kafka.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Deserialize, Serialize)]
pub(crate) struct RecordPosition {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// The next attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NextAttempt {
    /// Index of the delay, and number of the partition in the retries topic.
    pub(crate) delay: usize,
    number: u32,
    unknown_outcomes: u32,
    due: i64,
}

/// How a delivery has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DeliveryStatus {
    /// The record needs no more work here: it is delivered, deferred or dead-lettered.
    Done,
    /// The delivery was stopped; the next owner of the partition continues where the journal ends.
    Stopped,
}

/// The value of the header `formline-retry` of a deferred record.
#[derive(Debug, Deserialize, Serialize)]
struct RetryHeader {
    #[serde(flatten)]
    position: RecordPosition,
    attempt: u32,
    #[serde(rename = "doubts")]
    unknown_outcomes: u32,
    due: i64,
}

/// A delay is prolonged by up to a tenth, so that records that failed at one moment do not return
/// at one moment.
const JITTER: f64 = 0.1;

// === impl Attempt ===

impl Attempt {
    /// The first attempt at a record of an input, or the attempt that a deferred record waits for.
    pub(crate) fn of(read: Record) -> Self {
        let (partition, offset) = (read.partition.clone(), read.offset);
        let retry = read.header(header::RETRY);
        let retry = retry.and_then(|text| serde_json::from_slice::<RetryHeader>(text).ok());
        let (record, number, unknown_outcomes, due) = match retry {
            None => (read, 1, 0, 0),
            Some(retry) => (
                retry.position.restore(&read),
                retry.attempt,
                retry.unknown_outcomes,
                retry.due,
            ),
        };
        let key = AttemptKey {
            id: event::identity(&record),
            position: RecordPosition::of(&record.partition, record.offset),
        };
        Self {
            accepted: event::time(&record),
            key,
            record,
            partition,
            offset,
            number,
            unknown_outcomes,
            due,
        }
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.due <= now.as_millisecond()
    }

    /// The attempt after this one; `None` if this was the last. The receiver may ask for a longer
    /// delay (`retry_after`), up to the longest of the schedule.
    pub(crate) fn next(
        &self,
        schedule: &[Duration],
        unknown_outcomes: u32,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> Option<NextAttempt> {
        let first = usize::try_from(self.number).ok()?.checked_sub(1)?;
        let last = schedule
            .len()
            .checked_sub(1)
            .filter(|last| first <= *last)?;
        let is_enough = |delay: &usize| Some(schedule[*delay]) >= retry_after;
        let delay = (first..=last).find(is_enough).unwrap_or(last);
        let wait = schedule[delay].mul_f64(1.0 + JITTER * jitter_of(&self.record));
        Some(NextAttempt {
            delay,
            number: u32::try_from(delay).ok()? + 2,
            unknown_outcomes,
            due: now.as_millisecond() + i64::try_from(wait.as_millis()).ok()?,
        })
    }

    /// The record to write into the partition of the delay. It gets the header `ce_id` if it has
    /// none, because its identity would follow from another position there.
    pub(crate) fn deferred<'a>(&'a self, next: &NextAttempt, topic: &'a str) -> OutgoingRecord<'a> {
        let record = &self.record;
        let retry = RetryHeader {
            position: self.key.position.clone(),
            attempt: next.number,
            unknown_outcomes: next.unknown_outcomes,
            due: next.due,
        };
        let text = serde_json::to_vec(&retry).expect("it has only text and numbers");
        let mut headers = Headers::copied(record.headers(), 2);
        if record.header(header::ID).is_none() {
            headers = headers.with(header::ID, &*self.key.id);
        }
        OutgoingRecord {
            topic,
            partition: i32::try_from(next.delay).ok(),
            key: record.key(),
            value: record.value(),
            headers: headers.with(header::RETRY, text),
            timestamp_ms: None,
        }
    }
}

// === impl RecordPosition ===

impl RecordPosition {
    pub(crate) fn of(partition: &Partition, offset: i64) -> Self {
        Self {
            topic: partition.topic.to_string(),
            partition: partition.number,
            offset,
        }
    }

    /// The record that was read at this position, from the deferred copy of it.
    fn restore(&self, deferred: &Record) -> Record {
        let partition = Partition {
            topic: self.topic.as_str().into(),
            number: self.partition,
        };
        let own = deferred
            .headers()
            .filter(|(name, _)| *name != header::RETRY);
        Record::new(
            partition,
            self.offset,
            deferred.timestamp_ms,
            deferred.key(),
            deferred.value(),
            &own.collect::<Vec<_>>(),
        )
    }
}

/// From 0 to 1: differs between records, and is always the same for one record.
fn jitter_of(record: &Record) -> f64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write_i64(record.offset);
    hasher.write_i32(record.partition.number);
    (hasher.finish() >> 40) as f64 / (1u64 << 24) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: [Duration; 3] = [
        Duration::from_secs(10),
        Duration::from_secs(100),
        Duration::from_secs(1_000),
    ];

    fn attempt(number: u32) -> Attempt {
        let partition = Partition {
            topic: "rows".into(),
            number: 3,
        };
        let headers = [("a", b"1".as_slice())];
        let record = Record::new(partition, 7, 8, Some(b"k"), Some(b"{}"), &headers);
        Attempt {
            number,
            ..Attempt::of(record)
        }
    }

    /// Index of the delay, and number of the attempt.
    fn next(number: u32, retry_after: Option<u64>) -> Option<(usize, u32)> {
        let retry_after = retry_after.map(Duration::from_secs);
        let epoch = Timestamp::UNIX_EPOCH;
        let next = attempt(number).next(&SCHEDULE, 0, retry_after, epoch)?;
        let (unit, wait) = (SCHEDULE[next.delay].as_millis(), next.due.unsigned_abs());
        assert!((unit..=unit + unit / 10).contains(&wait.into()), "{wait}");
        Some((next.delay, next.number))
    }

    #[test]
    fn each_attempt_has_the_next_delay_until_the_schedule_ends() {
        assert_eq!(next(1, None), Some((0, 2)));
        assert_eq!(next(2, None), Some((1, 3)));
        assert_eq!(next(3, None), Some((2, 4)));
        assert_eq!(next(4, None), None);
        assert_eq!(next(0, None), None);
    }

    #[test]
    fn a_receiver_can_ask_for_a_longer_delay() {
        assert_eq!(next(1, Some(5)), Some((0, 2)));
        assert_eq!(next(1, Some(11)), Some((1, 3)));
        assert_eq!(next(1, Some(u64::MAX)), Some((2, 4)));
    }

    #[test]
    fn a_deferred_record_is_restored_as_it_was() {
        let (first, now) = (attempt(1), Timestamp::UNIX_EPOCH);
        let next = first.next(&SCHEDULE, 1, None, now).expect("a next attempt");
        let outgoing = first.deferred(&next, "retries");
        let header = |name| outgoing.headers.get(name).expect("a header");
        let headers = [
            ("a", b"1".as_slice()),
            (header::ID, header(header::ID)),
            (header::RETRY, header(header::RETRY)),
        ];
        let partition = Partition {
            topic: "retries".into(),
            number: outgoing.partition.expect("the partition of the delay"),
        };
        let deferred = Record::new(partition, 5, 8, outgoing.key, outgoing.value, &headers);
        let second = Attempt::of(deferred);
        let counts = (second.number, second.unknown_outcomes, second.offset);
        assert_eq!(counts, (2, 1, 5));
        assert_eq!((&second.key, second.accepted), (&first.key, first.accepted));
        assert!(!second.is_due(now) && second.is_due(now + SCHEDULE[0] * 2));
        let (record, original) = (&second.record, &first.record);
        assert_eq!(format!("{record:?}"), "rows/3@7");
        assert_eq!(
            (record.key(), record.value()),
            (original.key(), original.value())
        );
        let expected = [("a", b"1".as_slice()), (header::ID, b"rows/3@7")];
        assert_eq!(record.headers().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_retry_header_keeps_its_form() {
        let header = RetryHeader {
            position: attempt(1).key.position,
            attempt: 2,
            unknown_outcomes: 1,
            due: 9,
        };
        let text = r#"{"topic":"rows","partition":3,"offset":7,"attempt":2,"doubts":1,"due":9}"#;
        assert_eq!(serde_json::to_string(&header).expect("json"), text);
    }
}
