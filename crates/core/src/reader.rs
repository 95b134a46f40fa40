//! Reads partitions without a consumer group: from a point to the present end, or on and on.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    client::{self, Client},
    record::Record,
};

/// Reads one topic outside of any group. It never reads records of open or aborted transactions.
pub struct Reader {
    client: Client,
    inner: BaseConsumer<Quiet>,
    topic: Arc<str>,
    /// Partitions whose end was not seen since it was last asked for.
    behind: Vec<i32>,
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

// === impl Reader ===

impl Reader {
    /// Begins to read the given partitions, or all if there are none given. Blocks while it asks Kafka.
    pub fn open(
        client: &Client,
        topic: &str,
        partitions: &[i32],
        from: From,
    ) -> Result<Self, client::Error> {
        let mut config = client.common();
        config
            // librdkafka wants a name although no group is joined and nothing is ever committed.
            .set("group.id", "formline.reader")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "20")
            // The end of an empty partition is known only after this wait, and starts wait for ends.
            .set("fetch.wait.max.ms", "20");
        let inner: BaseConsumer<Quiet> = client.open(config, Quiet)?;
        let mut reader = Self {
            client: client.clone(),
            inner,
            topic: topic.into(),
            behind: Vec::new(),
        };
        reader
            .assign(partitions, from)
            .map_err(|error| match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                    client::Error::NoTopic(topic.to_owned())
                }
                _ => client.unreachable(error),
            })?;
        Ok(reader)
    }

    /// The next record; none if no record came within `limit`.
    pub fn next(&mut self, limit: Duration) -> Result<Option<Record>, client::Error> {
        match self.inner.poll(limit) {
            Some(Ok(message)) => Ok(Some(Record::copy(&message, Arc::clone(&self.topic)))),
            Some(Err(KafkaError::PartitionEOF(end))) => {
                self.behind.retain(|partition| *partition != end);
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

    /// Gives every record up to the end of each partition to `visit`. Blocks the thread, without limit while Kafka is
    /// away; `proceed` is asked at least every 100 ms whether to go on.
    pub fn read_to_end(
        &mut self,
        proceed: impl Fn() -> bool,
        mut visit: impl FnMut(Record),
    ) -> Result<(), client::Error> {
        while !self.is_at_end() && proceed() {
            if let Some(record) = self.next(Duration::from_millis(100))? {
                visit(record);
            }
        }
        Ok(())
    }

    /// Whether the end of every partition has been reached at least once.
    pub fn is_at_end(&self) -> bool {
        self.behind.is_empty()
    }

    fn assign(&mut self, partitions: &[i32], from: From) -> Result<(), KafkaError> {
        let partitions = match partitions {
            [] => partition_numbers(&self.inner, &self.topic)?,
            some => some.to_vec(),
        };
        let start = match from {
            From::Beginning => Offset::Beginning,
            From::End => Offset::End,
            From::Offset(offset) | From::Time(offset) => Offset::Offset(offset),
        };
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            list.add_partition_offset(&self.topic, *partition, start)?;
        }
        if let From::Time(_) = from {
            list = self.inner.offsets_for_times(list, client::QUERY_TIMEOUT)?;
        }
        self.behind = partitions;
        self.inner.assign(&list)
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

// === Quiet ===

/// Logs nothing of its own: librdkafka reports the end of a partition as an error, and `next` returns the others.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the reader waits for kafka");
    }
}

impl ConsumerContext for Quiet {}

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
