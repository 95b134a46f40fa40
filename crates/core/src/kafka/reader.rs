//! Reads partitions without a consumer group: up to the present end, or on and on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, DefaultConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    kafka::client::{self, Client},
    kafka::record::Record,
};

/// Reads one topic outside of any group. It never reads records of open or aborted transactions.
pub struct Reader {
    client: Client,
    inner: BaseConsumer<Quiet>,
    topic: Arc<str>,
    /// Where reading will begin, until it does.
    start: Option<TopicPartitionList>,
    /// Partitions with transactions that were open when the end was asked for, each with that end.
    unsettled: Option<Vec<(i32, i64)>>,
    /// Ranges whose end was not reached yet.
    behind: Vec<Range>,
}

/// Where to begin.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// At the oldest record there is.
    Beginning,
    /// Behind the newest record.
    End,
    /// At this offset of every partition.
    Offset(i64),
    /// At the first record with this time or a later one, in milliseconds since 1970.
    Time(i64),
}

/// What to read of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Number of the partition.
    pub partition: i32,
    /// Where to begin.
    pub from: From,
    /// The offset before which it ends; none is the present end of the partition. Later records may come nevertheless.
    pub until: Option<i64>,
}

/// librdkafka wants a name although no group is joined and nothing is ever committed.
const GROUP: &str = "formline.reader";

/// Between two looks whether open transactions have ended.
const SETTLING: Duration = Duration::from_millis(20);

// === impl Reader ===

impl Reader {
    /// Will read the given partitions, or all if there are none given. Blocks while it asks Kafka.
    pub fn open(
        client: &Client,
        topic: &str,
        partitions: &[i32],
        from: From,
    ) -> Result<Self, client::Error> {
        let mut reader = Self::new(client, topic)?;
        let numbers = match partitions {
            [] => partition_numbers(&reader.inner, topic).map_err(|error| reader.failed(error))?,
            some => some.to_vec(),
        };
        let whole = |partition| Range {
            partition,
            from,
            until: None,
        };
        reader.plan(numbers.into_iter().map(whole).collect())?;
        Ok(reader)
    }

    /// Will read these ranges. Blocks while it asks Kafka.
    pub fn open_ranges(
        client: &Client,
        topic: &str,
        ranges: Vec<Range>,
    ) -> Result<Self, client::Error> {
        let mut reader = Self::new(client, topic)?;
        reader.plan(ranges)?;
        Ok(reader)
    }

    fn new(client: &Client, topic: &str) -> Result<Self, client::Error> {
        let mut config = client.common();
        config
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "20")
            // The end of an empty partition is known only after this wait, and starts wait for ends.
            .set("fetch.wait.max.ms", "20");
        Ok(Self {
            client: client.clone(),
            inner: client.open(config, Quiet)?,
            topic: topic.into(),
            start: None,
            unsettled: None,
            behind: Vec::new(),
        })
    }

    /// The next record; none if no record came within `limit`.
    pub fn next(&mut self, limit: Duration) -> Result<Option<Record>, client::Error> {
        if let Some(start) = self.start.take() {
            self.inner
                .assign(&start)
                .map_err(|error| self.failed(error))?;
        }
        match self.inner.poll(limit) {
            Some(Ok(message)) => {
                let record = Record::copy(&message, Arc::clone(&self.topic));
                self.behind.retain_mut(|range| range.pass(&record));
                Ok(Some(record))
            }
            Some(Err(KafkaError::PartitionEOF(end))) => {
                self.behind.retain(|range| range.partition != end);
                Ok(None)
            }
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                Err(self.client.unreachable(error))
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "the reader waits for kafka");
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Gives records to `visit` for about as long as `limit`, and says whether the end was reached: everything that was
    /// in the partitions at the first call, also what transactions that were open then have committed. Blocks the
    /// thread.
    pub fn advance(
        &mut self,
        limit: Duration,
        mut visit: impl FnMut(Record),
    ) -> Result<bool, client::Error> {
        let until = Instant::now() + limit;
        if self.start.is_some() && !self.is_settled(until)? {
            return Ok(false);
        }
        while !self.is_at_end() {
            let left = until.saturating_duration_since(Instant::now());
            if let Some(record) = self.next(left)? {
                visit(record);
            }
            if left.is_zero() {
                break;
            }
        }
        Ok(self.is_at_end())
    }

    /// Gives every record up to the end to `visit`, as `advance` does. Blocks the thread; `proceed` is asked about every
    /// 100 ms whether to go on.
    pub fn read_to_end(
        &mut self,
        proceed: impl Fn() -> bool,
        mut visit: impl FnMut(Record),
    ) -> Result<(), client::Error> {
        while proceed() && !self.advance(Duration::from_millis(100), &mut visit)? {}
        Ok(())
    }

    /// Whether every range was read to its end.
    pub fn is_at_end(&self) -> bool {
        self.behind.is_empty()
    }

    /// Offsets that are still to be read; none while an end or a beginning is not known yet. Not each of them holds a
    /// record.
    pub fn left(&self) -> Option<i64> {
        let left = self
            .behind
            .iter()
            .map(|range| match (range.from, range.until) {
                (From::Offset(next), Some(until)) => Some((until - next).max(0)),
                _ => None,
            });
        left.sum()
    }

    /// Whether every transaction has ended that was open at the first call. Kafka ends a partition for readers of
    /// committed records before its first open transaction: what lies behind it would be missed. Waits until `limit`.
    fn is_settled(&mut self, limit: Instant) -> Result<bool, client::Error> {
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
            // Nothing is assigned yet: this only waits.
            self.inner.poll(SETTLING);
        }
    }

    /// Ends the ranges that have no end yet at the present end of their partition, open transactions included.
    fn find_ends(&mut self) -> Result<Vec<(i32, i64)>, client::Error> {
        if self.behind.iter().all(|range| range.until.is_some()) {
            return Ok(Vec::new());
        }
        let mut config = self.client.common();
        config
            .set("group.id", GROUP)
            .set("isolation.level", "read_uncommitted");
        let asking: BaseConsumer = self.client.open(config, DefaultConsumerContext)?;
        let mut ends = Vec::new();
        for range in &mut self.behind {
            if range.until.is_none() {
                let (begin, end) = extent(&asking, &self.topic, range.partition)
                    .map_err(|error| failed(&self.client, &self.topic, error))?;
                range.until = Some(end);
                if matches!(range.from, From::Beginning) {
                    range.from = From::Offset(begin);
                }
                ends.push((range.partition, end));
            }
        }
        Ok(ends)
    }

    fn plan(&mut self, ranges: Vec<Range>) -> Result<(), client::Error> {
        let start = self.offsets(&ranges).map_err(|error| self.failed(error))?;
        // Nothing is asked of Kafka about a range in which nothing can be, and nothing is fetched.
        let is_empty = |range: &Range| {
            let begin = start.find_partition(&self.topic, range.partition);
            match (begin.map(|begin| begin.offset()), range.until) {
                (Some(Offset::Offset(begin)), Some(until)) => begin >= until,
                (Some(Offset::End), Some(_)) => true,
                (_, until) => until == Some(0),
            }
        };
        self.behind = ranges;
        self.behind.retain(|range| !is_empty(range));
        let mut list = TopicPartitionList::new();
        for element in start.elements() {
            if self
                .behind
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

    /// Where each range begins.
    fn offsets(&self, ranges: &[Range]) -> Result<TopicPartitionList, KafkaError> {
        let (mut times, mut start) = (TopicPartitionList::new(), TopicPartitionList::new());
        for Range {
            partition, from, ..
        } in ranges
        {
            let (list, offset) = match *from {
                From::Beginning => (&mut start, Offset::Beginning),
                From::End => (&mut start, Offset::End),
                From::Offset(offset) => (&mut start, Offset::Offset(offset)),
                From::Time(time) => (&mut times, Offset::Offset(time)),
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

    fn failed(&self, error: KafkaError) -> client::Error {
        failed(&self.client, &self.topic, error)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("topic", &self.topic)
            .field("behind", &self.behind)
            .finish_non_exhaustive()
    }
}

// === impl Range ===

impl Range {
    /// Goes on behind the record if it is one of this partition. False if that was the last one.
    fn pass(&mut self, record: &Record) -> bool {
        if self.partition != record.partition.number {
            return true;
        }
        self.from = From::Offset(record.offset + 1);
        self.until.is_none_or(|until| record.offset + 1 < until)
    }
}

// === Quiet ===

/// Logs nothing of its own: librdkafka reports the end of a partition as an error, and `next` returns the others.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the reader waits for kafka");
    }
}

impl ConsumerContext for Quiet {}

pub(crate) fn failed(client: &Client, topic: &str, error: KafkaError) -> client::Error {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition,
        ) => client::Error::NoTopic(topic.to_owned()),
        _ => client.unreachable(error),
    }
}

/// The offset of the first record, and the one behind the last record that a consumer of this isolation level is given.
fn extent<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), KafkaError> {
    consumer.fetch_watermarks(topic, partition, client::QUERY_TIMEOUT)
}

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
