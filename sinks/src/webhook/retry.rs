//! A record that waits for its next attempt: in a topic of the sink's own, with one partition for each delay, so that it
//! holds up nothing but what is due later.

use std::{hash::Hasher as _, time::Duration};

use formline_core::{
    Record,
    event::header,
    record::{Headers, Outgoing, Partition},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The next attempt of a record.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub(crate) struct Retry {
    /// Where the record was read first.
    topic: String,
    partition: i32,
    offset: i64,
    /// Number of the attempt that it waits for; the first was made at once.
    pub(crate) attempt: u32,
    /// When it is due, in milliseconds since 1970.
    pub(crate) due: i64,
}

/// A delay is prolonged by up to a tenth, so that what has failed at one moment does not come back at one moment.
const JITTER: f64 = 0.1;

// === impl Retry ===

impl Retry {
    /// The attempt that a record waits for, and the record as it was read first. None if it is none that waits.
    pub(crate) fn read(record: &Record) -> Option<(Self, Record)> {
        let retry: Self = serde_json::from_slice(record.header(header::RETRY)?).ok()?;
        let partition = Partition {
            topic: retry.topic.as_str().into(),
            number: retry.partition,
        };
        let own = record.headers().filter(|(name, _)| *name != header::RETRY);
        let original = Record::new(
            partition,
            retry.offset,
            record.timestamp_ms,
            record.key(),
            record.value(),
            &own.collect::<Vec<_>>(),
        );
        Some((retry, original))
    }

    /// Puts off a record whose attempt has failed. Returns the number of the delay too; none if that was the last
    /// attempt. The receiver may ask for more patience, up to the longest delay.
    pub(crate) fn after(
        record: &Record,
        attempt: u32,
        schedule: &[Duration],
        patience: Option<Duration>,
        now: Timestamp,
    ) -> Option<(usize, Self)> {
        let first = usize::try_from(attempt).ok()?.checked_sub(1)?;
        let last = schedule
            .len()
            .checked_sub(1)
            .filter(|last| first <= *last)?;
        let is_enough = |delay: &usize| Some(schedule[*delay]) >= patience;
        let delay = (first..=last).find(is_enough).unwrap_or(last);
        let wait = schedule[delay].mul_f64(1.0 + JITTER * share(record));
        let retry = Self {
            topic: record.partition.topic.to_string(),
            partition: record.partition.number,
            offset: record.offset,
            attempt: u32::try_from(delay).ok()? + 2,
            due: now.as_millisecond() + i64::try_from(wait.as_millis()).ok()?,
        };
        Some((delay, retry))
    }

    /// The record to be written into the partition of this delay. `id` becomes its identity if it has none, since its place
    /// is another one now.
    pub(crate) fn outgoing<'a>(
        &self,
        topic: &'a str,
        delay: usize,
        record: &'a Record,
        id: &[u8],
    ) -> Outgoing<'a> {
        let mut headers = Headers::copied(record.headers(), 2);
        if record.header(header::ID).is_none() {
            headers = headers.with(header::ID, id);
        }
        let text = serde_json::to_vec(self).expect("it has only text and numbers");
        Outgoing {
            topic,
            partition: i32::try_from(delay).ok(),
            key: record.key(),
            value: record.value(),
            headers: headers.with(header::RETRY, text),
            timestamp_ms: None,
        }
    }

    /// How long it is until it is due; none if it is.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let left = self.due.saturating_sub(now.as_millisecond());
        u64::try_from(left)
            .ok()
            .filter(|left| *left > 0)
            .map(Duration::from_millis)
    }
}

/// From 0 to 1, another one for each record and the same again for the same.
fn share(record: &Record) -> f64 {
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

    fn record() -> Record {
        let partition = Partition {
            topic: "rows".into(),
            number: 3,
        };
        Record::new(partition, 7, 8, Some(b"k"), Some(b"{}"), &[("a", b"1")])
    }

    fn after(attempt: u32, patience: Option<u64>) -> Option<(usize, u32, u64)> {
        let patience = patience.map(Duration::from_secs);
        let epoch = Timestamp::UNIX_EPOCH;
        let (delay, retry) = Retry::after(&record(), attempt, &SCHEDULE, patience, epoch)?;
        let wait = retry.wait(epoch).expect("it is not due").as_millis();
        let unit = SCHEDULE[delay].as_millis();
        assert!((unit..=unit + unit / 10).contains(&wait), "{wait}");
        Some((delay, retry.attempt, SCHEDULE[delay].as_secs()))
    }

    #[test]
    fn each_attempt_waits_for_the_next_delay_until_there_is_none() {
        assert_eq!(after(1, None), Some((0, 2, 10)));
        assert_eq!(after(2, None), Some((1, 3, 100)));
        assert_eq!(after(3, None), Some((2, 4, 1_000)));
        assert_eq!(after(4, None), None);
        assert_eq!(after(0, None), None);
    }

    #[test]
    fn the_receiver_is_left_alone_for_as_long_as_it_asks() {
        assert_eq!(after(1, Some(5)), Some((0, 2, 10)));
        assert_eq!(after(1, Some(11)), Some((1, 3, 100)));
        assert_eq!(after(1, Some(u64::MAX)), Some((2, 4, 1_000)));
    }

    #[test]
    fn a_record_that_waited_is_what_it_was() {
        let now = Timestamp::UNIX_EPOCH;
        let (delay, retry) = Retry::after(&record(), 1, &SCHEDULE, None, now).expect("it waits");
        let original = record();
        let outgoing = retry.outgoing("retries", delay, &original, b"rows/3@7");
        let header = |name| outgoing.headers.get(name).expect("it is there");
        let headers = [
            ("a", b"1".as_slice()),
            (header::ID, header(header::ID)),
            (header::RETRY, header(header::RETRY)),
        ];
        let partition = Partition {
            topic: "retries".into(),
            number: outgoing.partition.expect("that of the delay"),
        };
        let waiting = Record::new(partition, 0, 8, outgoing.key, outgoing.value, &headers);
        let (read, back) = Retry::read(&waiting).expect("it waits");
        assert_eq!(read, retry);
        assert_eq!(format!("{back:?}"), "rows/3@7");
        assert_eq!(
            (back.key(), back.value()),
            (original.key(), original.value())
        );
        let expected = [("a", b"1".as_slice()), (header::ID, b"rows/3@7")];
        assert_eq!(back.headers().collect::<Vec<_>>(), expected);
        assert!(Retry::read(&back).is_none());
    }
}
