//! The journal of one sink: a topic with entries around each attempt, which is read back when
//! partitions are assigned.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use formline_core::{
    Client, Shutdown,
    app::Sink,
    event::header,
    kafka::{
        client::ClientError,
        reader::{PartitionRange, Reader, StartOffset},
        record::{Headers, OutgoingRecord, Partition},
    },
};
use jiff::Timestamp;

use super::{
    attempt::Attempt,
    entry::{JournalEntry, RecordedEntry},
    history::History,
};
use crate::{engine::retrying_producer::RetryingProducer, error::Error};

/// The journal of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    topic: Arc<str>,
    client: Client,
    producer: RetryingProducer,
}

/// How much earlier than its record an entry may appear to be, because the clocks of machines
/// differ.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(15 * 60);

// === impl Journal ===

impl Journal {
    pub(crate) fn of(sink: &Sink, client: Client, producer: RetryingProducer) -> Self {
        Self {
            topic: sink.journal_topic().into(),
            client,
            producer,
        }
    }

    /// Writes an entry about an attempt, and retries while Kafka is unavailable. Returns false if
    /// the shutdown began first.
    ///
    /// # Errors
    /// If the topic will never accept the entry.
    pub(crate) async fn write(
        &self,
        attempt: &Attempt,
        entry: JournalEntry,
    ) -> Result<bool, Error> {
        let value = entry.into_value(attempt);
        let written = self.producer.send(|| self.outgoing(attempt, &value)).await;
        written.map_err(|source| Error::Journal {
            topic: self.topic.to_string(),
            source,
        })
    }

    /// The entry goes into the partition with the number of the record's partition, so that the
    /// process that is assigned the latter reads it back.
    fn outgoing<'a>(&'a self, attempt: &'a Attempt, value: &'a [u8]) -> OutgoingRecord<'a> {
        let copied = [header::ID, header::SOURCE, header::TIME, header::ORIGIN];
        let headers = copied.into_iter().filter_map(|name| {
            let value = attempt.record.header(name)?;
            Some((name, value))
        });
        OutgoingRecord {
            topic: &self.topic,
            partition: Some(attempt.partition.number),
            key: Some(&attempt.key.id),
            value: Some(value),
            headers: Headers::copied(headers, 0),
            timestamp_ms: None,
        }
    }

    /// Reads what the journal says about records from these offsets on; without an offset, about
    /// all records of the partition. All entries of the last `memory` are kept as well. If the
    /// future is dropped, reading ends soon after; during a shutdown it ends early with an
    /// incomplete history.
    ///
    /// # Errors
    /// If Kafka is unavailable, or the history has more records than fit into memory.
    pub(crate) async fn read(
        &self,
        next: Vec<(Partition, Option<i64>)>,
        memory: Duration,
    ) -> Result<History, Error> {
        let wanted = Arc::new(());
        let is_wanted = Arc::downgrade(&wanted);
        let journal = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let proceed = || is_wanted.strong_count() > 0 && !journal.shutdown().has_begun();
            journal.read_blocking(&next, memory, proceed)
        });
        let history = read.await;
        let history =
            history.expect("reading does not panic, and the runtime outlives the sink")?;
        match history.is_complete() {
            true => Ok(history),
            false => Err(Error::JournalTooLong(self.topic.to_string())),
        }
    }

    fn shutdown(&self) -> &Shutdown {
        &self.producer.shutdown
    }

    fn read_blocking(
        &self,
        next: &[(Partition, Option<i64>)],
        memory: Duration,
        proceed: impl Fn() -> bool + Copy,
    ) -> Result<History, ClientError> {
        let remembered = Timestamp::now() - memory;
        let latest = remembered.as_millisecond();
        let mut from: BTreeMap<i32, i64> = BTreeMap::new();
        for (number, time) in self.times(next, proceed)? {
            let begin = (time - milliseconds(CLOCK_SKEW)).clamp(0, latest);
            let earliest = from.entry(number).or_insert(begin);
            *earliest = begin.min(*earliest);
        }
        let ranges = from.into_iter().map(|(partition, time)| PartitionRange {
            partition,
            from: StartOffset::Timestamp(time),
            until: None,
        });
        let mut reader = Reader::open_ranges(&self.client, &self.topic, ranges.collect())?;
        let mut history = History::new(next, remembered);
        reader.read_to_end(proceed, |record| history.extend(RecordedEntry::of(&record)))?;
        Ok(history)
    }

    /// The time of the record at each offset, or of the first record where there is no offset, in
    /// milliseconds since 1970; the present time if there is no such record yet.
    fn times(
        &self,
        next: &[(Partition, Option<i64>)],
        proceed: impl Fn() -> bool + Copy,
    ) -> Result<Vec<(i32, i64)>, ClientError> {
        let now = Timestamp::now().as_millisecond();
        let mut by_topic: BTreeMap<&str, Vec<PartitionRange>> = BTreeMap::new();
        let mut times: BTreeMap<Partition, i64> = BTreeMap::new();
        for (partition, offset) in next {
            times.insert(partition.clone(), now);
            // A range ends with the first record that is read of it.
            by_topic
                .entry(&partition.topic)
                .or_default()
                .push(PartitionRange {
                    partition: partition.number,
                    from: offset.map_or(StartOffset::Beginning, StartOffset::Offset),
                    until: Some(offset.unwrap_or_default() + 1),
                });
        }
        for (topic, ranges) in by_topic {
            let mut reader = Reader::open_ranges(&self.client, topic, ranges)?;
            reader.read_to_end(proceed, |record| {
                let time = times.entry(record.partition.clone()).or_insert(now);
                *time = record.timestamp_ms.min(*time);
            })?;
        }
        let numbered = times.into_iter();
        Ok(numbered
            .map(|(partition, time)| (partition.number, time))
            .collect())
    }
}

pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
