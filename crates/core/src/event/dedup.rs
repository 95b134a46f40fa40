//! Finds the submissions with an `Idempotency-Key` that a topic already contains.
//!
//! Only such submissions can be in the log twice: after a lost response, a crashed process, or if
//! two processes accept the same key. A consumer of a form's topic drops the second one. Everything
//! that it must know at its committed offset precedes that offset in the log; how it stores and
//! applies this knowledge is up to the consumer.

use std::{collections::BTreeMap, time::Duration};

use super::{header, id::EventId};
use crate::kafka::{
    client::{Client, ClientError},
    reader::{PartitionRange, Reader, StartOffset},
    record::Record,
};

/// A submission with an `Idempotency-Key` in the log, with the data that is needed to answer a
/// repetition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyedSubmission {
    /// Id of the submission, derived from form and key.
    pub id: EventId,
    /// Hash of its body.
    pub fingerprint: String,
    /// `ce_time` of its record.
    pub time: String,
    /// Timestamp of its record in Kafka, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// Reads the keyed submissions that consumers must know before they resume at their committed
/// offsets: those of the whole window, or those since the offset that they already know.
#[derive(Debug)]
pub struct DedupReader {
    client: Client,
    topic: String,
    consumers: Vec<DedupPosition>,
    /// Timestamp of the first record after the position of each consumer that knows nothing. `None`
    /// once all of them are known.
    times: Option<BTreeMap<i32, i64>>,
    reader: Reader,
}

/// The position of the consumer of a partition, and its knowledge of keyed submissions.
#[derive(Clone, Copy, Debug)]
pub struct DedupPosition {
    /// Number of the partition.
    pub partition: i32,
    /// Offset at which the consumer resumes.
    pub next: i64,
    /// Offset before which the consumer knows all keyed submissions of the window. `None` if it
    /// knows nothing.
    pub until: Option<i64>,
}

/// Time for which a repetition is recognized. The documentation of `Idempotency-Key` promises it to
/// clients.
pub const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

// === impl KeyedSubmission ===

impl KeyedSubmission {
    /// Returns the submission of a record if it has an `Idempotency-Key`.
    ///
    /// Returns `None` for a replayed record: it must not be dropped, and after the window of its
    /// key it must not block the next submission with that key.
    pub fn from_record(record: &Record) -> Option<Self> {
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

    /// Passes every keyed submission of the last window to `visit`, in order within each partition.
    /// Blocks the thread until the end of the topic, or until `proceed` returns `false`.
    pub fn read_window(
        client: &Client,
        topic: &str,
        proceed: impl Fn() -> bool,
        mut visit: impl FnMut(Self, &Record),
    ) -> Result<(), ClientError> {
        let now = jiff::Timestamp::now().as_millisecond();
        let mut reader = Reader::open(
            client,
            topic,
            &[],
            StartOffset::Timestamp(now - window_ms()),
        )?;
        reader.read_to_end(proceed, |record| {
            if let Some(keyed) = Self::from_record(&record) {
                visit(keyed, &record);
            }
        })
    }
}

// === impl DedupReader ===

impl DedupReader {
    /// Opens a reader for the consumers of a topic. Blocks the thread while it queries Kafka.
    pub fn open(
        client: &Client,
        topic: &str,
        consumers: Vec<DedupPosition>,
    ) -> Result<Self, ClientError> {
        let unknown = consumers.iter().filter(|consumer| consumer.until.is_none());
        let ranges = unknown.map(|consumer| PartitionRange {
            partition: consumer.partition,
            from: StartOffset::Offset(consumer.next),
            // The first record of the range also ends it.
            until: Some(consumer.next + 1),
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

    /// Reads for about `limit`, passes each keyed submission to `visit`, in order within each
    /// partition, and returns whether all of them were read. Blocks the thread.
    pub fn advance(
        &mut self,
        limit: Duration,
        mut visit: impl FnMut(KeyedSubmission, &Record),
    ) -> Result<bool, ClientError> {
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
                .find(|consumer| consumer.partition == record.partition.number);
            consumer.is_some_and(|consumer| record.offset < consumer.next)
        };
        self.reader.advance(limit, |record| {
            let keyed = KeyedSubmission::from_record(&record);
            if let Some(keyed) = keyed.filter(|_| is_before(&record)) {
                visit(keyed, &record);
            }
        })
    }

    /// Starts to read the windows. The window of each partition ends at the record at which its
    /// consumer resumes, not at the present time: otherwise a consumer that was down for days would
    /// not know the submissions just before its offset.
    fn begin_windows(&mut self) -> Result<(), ClientError> {
        let now = jiff::Timestamp::now().as_millisecond();
        let times = self.times.take().unwrap_or_default();
        let ranges = self.consumers.iter().map(|consumer| {
            let end_ms = times.get(&consumer.partition).copied().unwrap_or(now);
            let window = StartOffset::Timestamp(end_ms - window_ms());
            PartitionRange {
                partition: consumer.partition,
                from: consumer.until.map_or(window, StartOffset::Offset),
                until: Some(consumer.next),
            }
        });
        self.reader = Reader::open_ranges(&self.client, &self.topic, ranges.collect())?;
        Ok(())
    }
}

/// Returns [`WINDOW`] in milliseconds.
pub fn window_ms() -> i64 {
    i64::try_from(WINDOW.as_millis()).expect("one day in milliseconds fits into 64 bits")
}
