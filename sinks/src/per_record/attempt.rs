//! A record in the hands of a sink that makes several attempts. What is to be tried later waits in a topic of the sink's own,
//! with one partition for each delay, so that it holds up nothing but what is due later.

use std::{hash::Hasher as _, time::Duration};

use formline_core::{
    Record,
    event::{self, header},
    record::{Headers, Outgoing, Partition},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A record and how far the sink is with it.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The record as it was read first, wherever it waits now.
    pub(crate) record: Record,
    /// Where it lies now.
    pub(crate) partition: Partition,
    pub(crate) offset: i64,
    /// From 1.
    pub(crate) number: u32,
    /// Attempts before this one of which nobody knows what came.
    pub(crate) doubts: u32,
    /// When it is due, in milliseconds since 1970.
    due: i64,
}

/// What is noted about a record belongs to its id and its first place: an id can come again, if a key of a form is used
/// again after a day or a dead letter is replayed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Chain {
    pub(crate) id: Vec<u8>,
    pub(crate) place: Place,
}

/// A place in Kafka.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Deserialize, Serialize)]
pub(crate) struct Place {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// What a record that waits says of itself in its header.
#[derive(Debug, Deserialize, Serialize)]
struct Waiting {
    #[serde(flatten)]
    place: Place,
    attempt: u32,
    doubts: u32,
    due: i64,
}

/// The next attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Retry {
    /// Number of the delay, and of the partition.
    pub(crate) delay: usize,
    number: u32,
    doubts: u32,
    due: i64,
}

/// A delay is prolonged by up to a tenth, so that what has failed at one moment does not come back at one moment.
const JITTER: f64 = 0.1;

// === impl Attempt ===

impl Attempt {
    /// The first attempt at a record of an input, or the one that a record waits for.
    pub(crate) fn of(read: Record) -> Self {
        let (partition, offset) = (read.partition.clone(), read.offset);
        let waiting = read.header(header::RETRY);
        let waiting = waiting.and_then(|text| serde_json::from_slice::<Waiting>(text).ok());
        let Some(waiting) = waiting else {
            return Self {
                record: read,
                partition,
                offset,
                number: 1,
                doubts: 0,
                due: 0,
            };
        };
        Self {
            record: waiting.place.record(&read),
            partition,
            offset,
            number: waiting.attempt,
            doubts: waiting.doubts,
            due: waiting.due,
        }
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.due <= now.as_millisecond()
    }

    pub(crate) fn chain(&self) -> Chain {
        Chain {
            id: event::identity(&self.record),
            place: Place::of(&self.record.partition, self.record.offset),
        }
    }

    /// The attempt after this one; none if this was the last. Who is called may ask for more patience, up to the longest
    /// delay.
    pub(crate) fn next(
        &self,
        schedule: &[Duration],
        doubts: u32,
        patience: Option<Duration>,
        now: Timestamp,
    ) -> Option<Retry> {
        let first = usize::try_from(self.number).ok()?.checked_sub(1)?;
        let last = schedule
            .len()
            .checked_sub(1)
            .filter(|last| first <= *last)?;
        let is_enough = |delay: &usize| Some(schedule[*delay]) >= patience;
        let delay = (first..=last).find(is_enough).unwrap_or(last);
        let wait = schedule[delay].mul_f64(1.0 + JITTER * share(&self.record));
        Some(Retry {
            delay,
            number: u32::try_from(delay).ok()? + 2,
            doubts,
            due: now.as_millisecond() + i64::try_from(wait.as_millis()).ok()?,
        })
    }

    /// The record to be written into the partition of the delay. It gets its identity if it has none of its own, since its
    /// place is another one there.
    pub(crate) fn waiting<'a>(&'a self, retry: &Retry, topic: &'a str) -> Outgoing<'a> {
        let record = &self.record;
        let waiting = Waiting {
            place: self.chain().place,
            attempt: retry.number,
            doubts: retry.doubts,
            due: retry.due,
        };
        let text = serde_json::to_vec(&waiting).expect("it has only text and numbers");
        let mut headers = Headers::copied(record.headers(), 2);
        if record.header(header::ID).is_none() {
            headers = headers.with(header::ID, event::identity(record));
        }
        Outgoing {
            topic,
            partition: i32::try_from(retry.delay).ok(),
            key: record.key(),
            value: record.value(),
            headers: headers.with(header::RETRY, text),
            timestamp_ms: None,
        }
    }
}

// === impl Place ===

impl Place {
    pub(crate) fn of(partition: &Partition, offset: i64) -> Self {
        Self {
            topic: partition.topic.to_string(),
            partition: partition.number,
            offset,
        }
    }

    /// The record that lay here, as one that waits has kept it.
    fn record(&self, waiting: &Record) -> Record {
        let partition = Partition {
            topic: self.topic.as_str().into(),
            number: self.partition,
        };
        let own = waiting.headers().filter(|(name, _)| *name != header::RETRY);
        Record::new(
            partition,
            self.offset,
            waiting.timestamp_ms,
            waiting.key(),
            waiting.value(),
            &own.collect::<Vec<_>>(),
        )
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

    /// Number of the delay, and of the attempt.
    fn next(number: u32, patience: Option<u64>) -> Option<(usize, u32)> {
        let patience = patience.map(Duration::from_secs);
        let epoch = Timestamp::UNIX_EPOCH;
        let retry = attempt(number).next(&SCHEDULE, 0, patience, epoch)?;
        let (unit, wait) = (SCHEDULE[retry.delay].as_millis(), retry.due.unsigned_abs());
        assert!((unit..=unit + unit / 10).contains(&wait.into()), "{wait}");
        Some((retry.delay, retry.number))
    }

    #[test]
    fn each_attempt_waits_for_the_next_delay_until_there_is_none() {
        assert_eq!(next(1, None), Some((0, 2)));
        assert_eq!(next(2, None), Some((1, 3)));
        assert_eq!(next(3, None), Some((2, 4)));
        assert_eq!(next(4, None), None);
        assert_eq!(next(0, None), None);
    }

    #[test]
    fn who_is_called_is_left_alone_for_as_long_as_it_asks() {
        assert_eq!(next(1, Some(5)), Some((0, 2)));
        assert_eq!(next(1, Some(11)), Some((1, 3)));
        assert_eq!(next(1, Some(u64::MAX)), Some((2, 4)));
    }

    #[test]
    fn a_record_that_waited_is_what_it_was() {
        let (first, now) = (attempt(1), Timestamp::UNIX_EPOCH);
        let retry = first.next(&SCHEDULE, 1, None, now).expect("it waits");
        let outgoing = first.waiting(&retry, "retries");
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
        let waiting = Record::new(partition, 5, 8, outgoing.key, outgoing.value, &headers);
        let second = Attempt::of(waiting);
        assert_eq!((second.number, second.doubts, second.offset), (2, 1, 5));
        assert_eq!(second.chain(), first.chain());
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
}
