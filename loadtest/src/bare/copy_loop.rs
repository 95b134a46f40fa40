//! Copies a topic to another one in transactions, exactly once: the cost of a step without
//! Formline.
//!
//! It only uses rdkafka, so that a defect of core cannot slow down both sides. Settings and
//! batching are the same as those of core: a batch consists of the records in the consumer's queue,
//! two transactional producers alternate, and acknowledgements are drained before a commit.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
    producer::{BaseProducer, BaseRecord, Producer as _},
};

/// A loop with its own consumer group, which has one member.
pub struct CopyLoop {
    consumer: BaseConsumer,
    producers: [BaseProducer; 2],
    turn: usize,
    to: String,
    batch: usize,
}

/// Default of the maximum number of records in a transaction.
pub const BATCH_RECORDS: usize = 5_000;
/// Timeout of a request to Kafka.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a loop without records checks whether it must stop.
const IDLE: Duration = Duration::from_millis(100);

/// Runs a loop for each pair of adjacent `topics` until one of the loops fails. A transaction has
/// at most `batch` records.
///
/// # Errors
///
/// If there are fewer than two topics, or if a request to Kafka fails.
pub async fn run_chain(bootstrap: &str, topics: &[String], batch: usize) -> Result<()> {
    ensure!(topics.len() >= 2, "a chain needs at least two topics");
    let mut loops = tokio::task::JoinSet::new();
    for pair in topics.windows(2) {
        let (bootstrap, from, to) = (bootstrap.to_owned(), pair[0].clone(), pair[1].clone());
        loops.spawn_blocking(move || {
            CopyLoop::open(&bootstrap, &from, &to, batch)?.run(&AtomicBool::new(false))
        });
    }
    match loops.join_next().await {
        Some(ended) => ended.context("a loop panicked")?,
        None => Ok(()),
    }
}

// === impl CopyLoop ===

impl CopyLoop {
    /// Joins the group, and aborts the transaction that an earlier loop between these topics may
    /// have left open. Blocks the thread.
    ///
    /// # Errors
    ///
    /// If a request to Kafka fails.
    pub fn open(bootstrap: &str, from: &str, to: &str, batch: usize) -> Result<Self> {
        let name = group(from, to);
        let consumer: BaseConsumer = consumer(bootstrap, &name).create()?;
        consumer.subscribe(&[from])?;
        let producer = |turn| -> Result<BaseProducer> {
            let producer: BaseProducer = producer(bootstrap, &format!("{name}.{turn}")).create()?;
            producer.init_transactions(TIMEOUT)?;
            Ok(producer)
        };
        Ok(Self {
            consumer,
            producers: [producer(0)?, producer(1)?],
            turn: 0,
            to: to.to_owned(),
            batch,
        })
    }

    /// Copies until `stop` is set.
    ///
    /// # Errors
    ///
    /// The first error of a transaction or of the consumer. The next loop copies the uncommitted
    /// records again.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            if let Some(first) = self.consumer.poll(IDLE) {
                self.turn = 1 - self.turn;
                self.copy_batch(first)?;
            }
        }
        Ok(())
    }

    /// Copies the records in the consumer's queue, starting with one that was already polled.
    fn copy_batch(&self, first: Result<BorrowedMessage<'_>, KafkaError>) -> Result<()> {
        let producer = &self.producers[self.turn];
        let mut next = TopicPartitionList::new();
        producer.begin_transaction()?;
        let queued =
            std::iter::once(first).chain(std::iter::from_fn(|| self.consumer.poll(Duration::ZERO)));
        for polled in queued.take(self.batch) {
            match polled {
                Ok(message) => {
                    self.copy(producer, &message)?;
                    put_offset(&mut next, &message)?;
                }
                Err(fatal @ KafkaError::MessageConsumptionFatal(_)) => return Err(fatal.into()),
                // librdkafka retries transient errors by itself, for instance an unavailable
                // broker.
                Err(_) => {}
            }
        }
        let group = self
            .consumer
            .group_metadata()
            .context("the consumer has no group")?;
        producer.send_offsets_to_transaction(&next, &group, TIMEOUT)?;
        drain(producer);
        producer.commit_transaction(TIMEOUT)?;
        Ok(())
    }

    fn copy(&self, producer: &BaseProducer, message: &BorrowedMessage<'_>) -> Result<()> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.to);
        record.key = message.key();
        record.payload = message.payload();
        record.headers = message
            .headers()
            .map(rdkafka::message::BorrowedHeaders::detach);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(1));
            record = back;
        }
        Ok(())
    }
}

/// Leaves the group before the close, because a change of assignment during the close may hang (see
/// the consumer of core).
impl Drop for CopyLoop {
    fn drop(&mut self) {
        self.consumer.unsubscribe();
        let end = Instant::now() + TIMEOUT;
        // An assignment that is in flight must be handled as well, so wait until two polls in a row
        // bring nothing.
        let mut quiet = 0;
        while quiet < 2 && Instant::now() < end {
            let has_event = self.consumer.poll(Duration::from_millis(10)).is_some();
            let is_assigned = self
                .consumer
                .assignment()
                .is_ok_and(|assignment| assignment.count() > 0);
            quiet = if has_event || is_assigned {
                0
            } else {
                quiet + 1
            };
        }
    }
}

impl fmt::Debug for CopyLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyLoop")
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// The consumer group of the loop between these topics.
pub(crate) fn group(from: &str, to: &str) -> String {
    format!("formline-loadtest.{from}.{to}")
}

/// Sets the next offset of the record's partition to the one after the record.
pub(super) fn put_offset(
    next: &mut TopicPartitionList,
    message: &BorrowedMessage<'_>,
) -> Result<()> {
    let (topic, partition, offset) = (
        message.topic(),
        message.partition(),
        Offset::Offset(message.offset() + 1),
    );
    if next.find_partition(topic, partition).is_none() {
        next.add_partition(topic, partition);
    }
    Ok(next.set_partition_offset(topic, partition, offset)?)
}

/// Handles acknowledgements in polls of 1 ms. `commit_transaction` would use polls of 100 ms that
/// do not return early.
fn drain(producer: &BaseProducer) {
    let end = Instant::now() + TIMEOUT;
    while producer.in_flight_count() > 0 && Instant::now() < end {
        producer.poll(Duration::from_millis(1));
    }
}

fn common(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", "formline-loadtest")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("topic.metadata.refresh.fast.interval.ms", "100")
        .set("socket.keepalive.enable", "true")
        .set("allow.auto.create.topics", "false");
    config
}

pub(super) fn consumer(bootstrap: &str, group: &str) -> ClientConfig {
    let mut config = common(bootstrap);
    config
        .set("group.id", group)
        .set("group.instance.id", group)
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", "10000")
        .set("heartbeat.interval.ms", "2000")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "20")
        .set("fetch.error.backoff.ms", "100");
    config
}

fn producer(bootstrap: &str, id: &str) -> ClientConfig {
    let mut config = common(bootstrap);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("transactional.id", id)
        .set("transaction.timeout.ms", "10000")
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("linger.ms", "0");
    config
}
