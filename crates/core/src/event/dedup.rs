//! Reads which submissions with an `Idempotency-Key` a topic holds already. Only they can be in the log twice (an answer
//! was lost, a process died, two processes took one key); whoever consumes a form's topic drops the second one.
//!
//! The log itself is the memory: what a consumer must know at its committed offset stands before that offset. What it keeps
//! of that, and how it judges, is its own business.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    kafka::client::{self, Client},
    event::header,
    event::id::EventId,
    kafka::reader::{From, Range, Reader},
    kafka::record::Record,
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
    /// Time of its record in Kafka, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// Reads what consumers must know of a topic before they go on at their committed offsets: all its keyed submissions of
/// the window before, or what has come since they knew them.
pub struct Recall {
    client: Client,
    topic: String,
    consumers: Vec<Known>,
    /// The time of the record at which a consumer goes on that knows nothing; none once these times are all known.
    times: Option<BTreeMap<i32, i64>>,
    reader: Reader,
}

/// What the consumer of a partition knows.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Number of the partition.
    pub partition: i32,
    /// Where it goes on.
    pub next: i64,
    /// The offset up to which it knows the keyed submissions; none if it knows nothing.
    pub until: Option<i64>,
}

/// How long a repetition is recognised. Clients are told so in the documentation of `Idempotency-Key`.
pub const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

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
    /// For consumers of partitions of the topic. Blocks while it asks Kafka.
    pub fn begin(
        client: &Client,
        topic: &str,
        consumers: Vec<Known>,
    ) -> Result<Self, client::Error> {
        let ignorant = consumers.iter().filter(|known| known.until.is_none());
        let ranges = ignorant.map(|known| Range {
            partition: known.partition,
            from: From::Offset(known.next),
            // The range ends with the first record that it has.
            until: Some(known.next + 1),
        });
        let reader = Reader::open_ranges(client, topic, ranges.collect())?;
        Ok(Self {
            client: client.clone(),
            topic: topic.to_owned(),
            consumers,
            times: Some(BTreeMap::new()),
            reader,
        })
    }

    /// Reads for about as long as `limit`, gives each keyed submission to `visit`, in order within each partition, and
    /// says whether these were all. Blocks the thread.
    pub fn advance(
        &mut self,
        limit: Duration,
        mut visit: impl FnMut(Keyed, &Record),
    ) -> Result<bool, client::Error> {
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
        let consumers = &self.consumers;
        let is_before = |record: &Record| {
            let consumer = consumers
                .iter()
                .find(|known| known.partition == record.partition.number);
            consumer.is_some_and(|known| record.offset < known.next)
        };
        self.reader.advance(limit, |record| {
            if let Some(keyed) = Keyed::of(&record).filter(|_| is_before(&record)) {
                visit(keyed, &record);
            }
        })
    }

    /// The window of each partition ends with the record at which its consumer goes on, and not now: a consumer that was
    /// away for days would forget what stands just before its offset.
    fn begin_windows(&mut self) -> Result<(), client::Error> {
        let now = jiff::Timestamp::now().as_millisecond();
        let times = self.times.take().unwrap_or_default();
        let ranges = self.consumers.iter().map(|known| {
            let end_ms = times.get(&known.partition).copied().unwrap_or(now);
            let window = From::Time(end_ms - window_ms());
            Range {
                partition: known.partition,
                from: known.until.map_or(window, From::Offset),
                until: Some(known.next),
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
            .field("consumers", &self.consumers)
            .finish_non_exhaustive()
    }
}

/// `WINDOW` in milliseconds.
pub fn window_ms() -> i64 {
    i64::try_from(WINDOW.as_millis()).expect("a day in milliseconds fits")
}
