//! Reads partitions without a consumer group: up to the present end, or continuously.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, DefaultConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    client::{self, Client, ClientError},
    opaque::Opaque,
    record::Record,
};

/// Reads one topic without a consumer group. It reads committed records only (`read_committed`).
///
/// ```no_run
/// use formline_core::{
///     Client,
///     kafka::reader::{Reader, StartOffset},
/// };
///
/// # fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut reader = Reader::open(client, "orders", &[], StartOffset::Beginning)?;
/// let mut count = 0;
/// reader.read_to_end(|| true, |_record| count += 1)?;
/// println!("{count} records");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reader {
    client: Client,
    inner: Opaque<BaseConsumer<QuietContext>>,
    topic: Arc<str>,
    /// The first offsets to read, until reading starts.
    start: Option<TopicPartitionList>,
    /// Partitions that had open transactions when their end was determined, each with that end.
    unsettled: Option<Vec<(i32, i64)>>,
    /// Ranges that were not read to their end yet.
    pending: Vec<PartitionRange>,
}

/// Where a [`Reader`] starts.
#[derive(Clone, Copy, Debug)]
pub enum StartOffset {
    /// At the oldest record.
    Beginning,
    /// After the newest record.
    End,
    /// At this offset of each partition.
    Offset(i64),
    /// At the first record with this timestamp or a later one, in milliseconds since 1970.
    Timestamp(i64),
}

/// The offsets to read of one partition.
#[derive(Clone, Copy, Debug)]
pub struct PartitionRange {
    /// Number of the partition.
    pub partition: i32,
    /// Where to start.
    pub from: StartOffset,
    /// The offset at which the range ends (exclusive). `None` is the present end of the partition.
    /// The reader may return later records, too.
    pub until: Option<i64>,
}

/// librdkafka requires a group id, although the reader joins no group and commits nothing.
const GROUP: &str = "formline.reader";

/// Interval between two checks whether open transactions have ended.
const TRANSACTION_POLL: Duration = Duration::from_millis(20);

// === impl Reader ===

impl Reader {
    /// Opens a reader for the given partitions, or for all of them if `partitions` is empty. Blocks
    /// the thread while it queries Kafka.
    pub fn open(
        client: &Client,
        topic: &str,
        partitions: &[i32],
        from: StartOffset,
    ) -> Result<Self, ClientError> {
        let mut reader = Self::new(client, topic)?;
        let numbers = match partitions {
            [] => partition_numbers(&reader.inner, topic).map_err(|error| reader.failed(error))?,
            given => given.to_vec(),
        };
        let whole = |partition| PartitionRange {
            partition,
            from,
            until: None,
        };
        reader.plan(numbers.into_iter().map(whole).collect())?;
        Ok(reader)
    }

    /// Opens a reader for these ranges. Blocks the thread while it queries Kafka.
    pub fn open_ranges(
        client: &Client,
        topic: &str,
        ranges: Vec<PartitionRange>,
    ) -> Result<Self, ClientError> {
        let mut reader = Self::new(client, topic)?;
        reader.plan(ranges)?;
        Ok(reader)
    }

    fn new(client: &Client, topic: &str) -> Result<Self, ClientError> {
        let mut config = client.common();
        config
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "20")
            // The end of an empty partition is known only after this wait, which delays the start
            // of processes.
            .set("fetch.wait.max.ms", "20");
        Ok(Self {
            client: client.clone(),
            inner: Opaque(client.open(config, QuietContext)?),
            topic: topic.into(),
            start: None,
            unsettled: None,
            pending: Vec::new(),
        })
    }

    /// Returns the next record, or `None` if no record arrives within `limit`.
    pub fn next(&mut self, limit: Duration) -> Result<Option<Record>, ClientError> {
        if let Some(start) = self.start.take() {
            self.inner
                .assign(&start)
                .map_err(|error| self.failed(error))?;
        }
        match self.inner.poll(limit) {
            Some(Ok(message)) => {
                let record = Record::copy(&message, Arc::clone(&self.topic));
                self.pending.retain_mut(|range| range.advance(&record));
                Ok(Some(record))
            }
            Some(Err(KafkaError::PartitionEOF(end))) => {
                self.pending.retain(|range| range.partition != end);
                Ok(None)
            }
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                Err(self.client.unreachable(error))
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "the reader is waiting for kafka");
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Passes records to `visit` for about `limit`, and returns whether the end was reached. The
    /// end is the end of the partitions at the first call, including transactions that were open
    /// then and have committed since. Blocks the thread.
    pub fn advance(
        &mut self,
        limit: Duration,
        mut visit: impl FnMut(Record),
    ) -> Result<bool, ClientError> {
        let until = Instant::now() + limit;
        if self.start.is_some() && !self.is_settled(until)? {
            return Ok(false);
        }
        while !self.is_at_end() {
            let remaining = until.saturating_duration_since(Instant::now());
            if let Some(record) = self.next(remaining)? {
                visit(record);
            }
            if remaining.is_zero() {
                break;
            }
        }
        Ok(self.is_at_end())
    }

    /// Passes every record up to the end to `visit`, like [`advance`](Self::advance). Blocks the
    /// thread. It calls `proceed` about every 100 ms and stops if that returns `false`.
    pub fn read_to_end(
        &mut self,
        proceed: impl Fn() -> bool,
        mut visit: impl FnMut(Record),
    ) -> Result<(), ClientError> {
        while proceed() && !self.advance(Duration::from_millis(100), &mut visit)? {}
        Ok(())
    }

    /// Returns whether every range was read to its end.
    pub fn is_at_end(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns the number of offsets that remain, or `None` while a start or an end is unknown. Not
    /// every offset contains a record.
    pub fn remaining(&self) -> Option<i64> {
        let remaining = self
            .pending
            .iter()
            .map(|range| match (range.from, range.until) {
                (StartOffset::Offset(next), Some(until)) => Some((until - next).max(0)),
                _ => None,
            });
        remaining.sum()
    }

    /// Waits until `limit` for the transactions that were open at the first call, and returns
    /// whether all of them have ended. For `read_committed`, Kafka reports the end of a partition
    /// before its first open transaction, so that the reader would miss everything after it.
    fn is_settled(&mut self, limit: Instant) -> Result<bool, ClientError> {
        let mut unsettled = match self.unsettled.take() {
            Some(unsettled) => unsettled,
            None => self.find_ends()?,
        };
        loop {
            let mut open = Vec::new();
            for (partition, end) in unsettled {
                let (_, settled) = extent(&self.inner, &self.topic, partition)
                    .map_err(|error| self.failed(error))?;
                if settled < end {
                    open.push((partition, end));
                }
            }
            if open.is_empty() || Instant::now() >= limit {
                let is_settled = open.is_empty();
                self.unsettled = Some(open);
                return Ok(is_settled);
            }
            unsettled = open;
            // No partition is assigned yet, so this only waits.
            self.inner.poll(TRANSACTION_POLL);
        }
    }

    /// Sets the end of each range without an end to the present end of its partition, including
    /// open transactions. Returns these ends.
    fn find_ends(&mut self) -> Result<Vec<(i32, i64)>, ClientError> {
        if self.pending.iter().all(|range| range.until.is_some()) {
            return Ok(Vec::new());
        }
        let mut config = self.client.common();
        config
            .set("group.id", GROUP)
            .set("isolation.level", "read_uncommitted");
        let consumer: BaseConsumer = self.client.open(config, DefaultConsumerContext)?;
        let mut ends = Vec::new();
        for range in &mut self.pending {
            if range.until.is_none() {
                let (start, end) = extent(&consumer, &self.topic, range.partition)
                    .map_err(|error| self.client.topic_error(&self.topic, error))?;
                range.until = Some(end);
                if matches!(range.from, StartOffset::Beginning) {
                    range.from = StartOffset::Offset(start);
                }
                ends.push((range.partition, end));
            }
        }
        Ok(ends)
    }

    fn plan(&mut self, ranges: Vec<PartitionRange>) -> Result<(), ClientError> {
        let start = self.offsets(&ranges).map_err(|error| self.failed(error))?;
        // An empty range needs no request to Kafka.
        let is_empty = |range: &PartitionRange| {
            let first = start.find_partition(&self.topic, range.partition);
            match (first.map(|first| first.offset()), range.until) {
                (Some(Offset::Offset(first)), Some(until)) => first >= until,
                (Some(Offset::End), Some(_)) => true,
                (_, until) => until == Some(0),
            }
        };
        self.pending = ranges;
        self.pending.retain(|range| !is_empty(range));
        let mut list = TopicPartitionList::new();
        for element in start.elements() {
            if self
                .pending
                .iter()
                .any(|range| range.partition == element.partition())
            {
                list.add_partition_offset(&self.topic, element.partition(), element.offset())
                    .map_err(|error| self.failed(error))?;
            }
        }
        self.start = Some(list);
        Ok(())
    }

    /// Returns the first offset of each range.
    fn offsets(&self, ranges: &[PartitionRange]) -> Result<TopicPartitionList, KafkaError> {
        let (mut times, mut start) = (TopicPartitionList::new(), TopicPartitionList::new());
        for PartitionRange {
            partition, from, ..
        } in ranges
        {
            let (list, offset) = match *from {
                StartOffset::Beginning => (&mut start, Offset::Beginning),
                StartOffset::End => (&mut start, Offset::End),
                StartOffset::Offset(offset) => (&mut start, Offset::Offset(offset)),
                StartOffset::Timestamp(time) => (&mut times, Offset::Offset(time)),
            };
            list.add_partition_offset(&self.topic, *partition, offset)?;
        }
        if times.count() > 0 {
            let found = self.inner.offsets_for_times(times, client::QUERY_TIMEOUT)?;
            for element in found.elements() {
                start.add_partition_offset(&self.topic, element.partition(), element.offset())?;
            }
        }
        Ok(start)
    }

    fn failed(&self, error: KafkaError) -> ClientError {
        self.client.topic_error(&self.topic, error)
    }
}

// === impl PartitionRange ===

impl PartitionRange {
    /// Advances the range past the record if it belongs to this partition. Returns whether the
    /// range has more offsets.
    fn advance(&mut self, record: &Record) -> bool {
        if self.partition != record.partition.number {
            return true;
        }
        self.from = StartOffset::Offset(record.offset + 1);
        self.until.is_none_or(|until| record.offset + 1 < until)
    }
}

// === QuietContext ===

/// Logs errors at debug level only: librdkafka reports the end of a partition as an error, and
/// `next` returns the others.
struct QuietContext;

impl ClientContext for QuietContext {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the reader is waiting for kafka");
    }
}

impl ConsumerContext for QuietContext {}

/// Returns the first offset of a partition, and its end for the isolation level of this consumer.
fn extent<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), KafkaError> {
    consumer.fetch_watermarks(topic, partition, client::QUERY_TIMEOUT)
}

/// Returns the numbers of the partitions of a topic.
pub(crate) fn partition_numbers<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
) -> Result<Vec<i32>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), client::QUERY_TIMEOUT)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .flat_map(rdkafka::metadata::MetadataTopic::partitions)
        .map(rdkafka::metadata::MetadataPartition::id)
        .collect();
    if partitions.is_empty() {
        let code = RDKafkaErrorCode::UnknownTopicOrPartition;
        return Err(KafkaError::MetadataFetch(code));
    }
    Ok(partitions)
}
