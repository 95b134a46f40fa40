//! Publishes the outputs of a batch atomically with the offsets of the batch (KIP-98, KIP-447).

use std::{
    collections::BTreeMap,
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext},
};

use super::{
    client::{self, Client, ClientError},
    consumer::{Consumer, offsets},
    opaque::Opaque,
    record::{OutgoingRecord, Partition},
};

/// The transactional producer of one worker.
///
/// It consists of two librdkafka producers, used in turn. After a commit the transaction
/// coordinator still writes markers, and inside librdkafka the next transaction of the same id
/// would wait a fixed 20 ms for them. The second producer commits only after the commit of the
/// first has returned, so that their order is kept.
///
/// ```no_run
/// use formline_core::{
///     Client, Consumer,
///     kafka::{
///         record::{OutgoingRecord, Partition},
///         transaction::TransactionalProducer,
///     },
/// };
///
/// # fn example(
/// #     client: &Client, consumer: &Consumer, output: OutgoingRecord<'_>, next: (Partition, i64),
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let mut producer = TransactionalProducer::open(client, "formline.demo.rows.host-1", "")?;
/// let mut transaction = producer.begin()?;
/// transaction.send(output)?;
/// transaction.commit(&[next], consumer)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TransactionalProducer {
    id: String,
    producers: [Opaque<BaseProducer<OffsetTracker>>; 2],
    /// Index of the producer of the present transaction.
    turn: usize,
}

/// The end of each partition of the tracked topic that a transaction has written to: the offset
/// after its last record.
pub type EndOffsets = BTreeMap<i32, i64>;

/// An open transaction of a [`TransactionalProducer`].
///
/// Only [`commit`](Self::commit) publishes it. To roll it back, drop it together with its producer:
/// the next producer with the same id aborts it first. There is no `abort`, because after any
/// failure only a new producer can determine the outcome.
#[derive(Debug)]
#[must_use]
pub struct Transaction<'a> {
    id: &'a str,
    producer: &'a Opaque<BaseProducer<OffsetTracker>>,
}

/// Records the offsets of the delivered records of one topic.
struct OffsetTracker {
    topic: String,
    ends: Mutex<EndOffsets>,
}

/// Why a transaction was not published, as far as the client can know.
///
/// After any of these errors, drop the producer, open a new one (which determines the outcome) and
/// continue from the committed offsets.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// Kafka aborted the transaction: it was open for too long, because the process was suspended
    /// or Kafka was unreachable, or another process uses the same id. Retry. In the second case the
    /// consumer is fenced as well and returns that error.
    #[error("kafka has aborted the transaction of `{id}`")]
    Fenced {
        /// The transactional id.
        id: String,
    },
    /// Kafka failed or was too slow. Retry.
    #[error("the transaction failed while {doing}: {source}")]
    Failed {
        /// The operation, such as `committing`.
        doing: &'static str,
        /// The error of librdkafka.
        source: KafkaError,
    },
    /// Kafka rejected one of the records, for instance because it is too large for its topic. Kafka
    /// does not say which one: write them one by one to find it, and reject it.
    #[error("kafka rejects a record: {0}")]
    Rejected(#[source] KafkaError),
    /// The producer could not be created.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Kafka aborts the transaction of a crashed process after this time. Until then, readers of the
/// topic wait for it.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Capacity of librdkafka's queue in KiB and in records. When it is full, `send` waits for Kafka.
const QUEUE_KIB: &str = "65536";
const QUEUE_MESSAGES: &str = "100000";

// === impl TransactionalProducer ===

impl TransactionalProducer {
    /// Creates the producers and aborts the transactions that an earlier process with this id left
    /// open. Each commit returns the end offsets of the topic `tracked`; an empty name tracks no
    /// topic. Blocks the thread.
    pub fn open(client: &Client, id: &str, tracked: &str) -> Result<Self, TransactionError> {
        let open = |n: u8| -> Result<Opaque<BaseProducer<OffsetTracker>>, TransactionError> {
            let id = format!("{id}.{n}");
            let mut config = client.producing();
            config
                .set("transactional.id", &id)
                .set(
                    "transaction.timeout.ms",
                    TRANSACTION_TIMEOUT.as_millis().to_string(),
                )
                .set("queue.buffering.max.messages", QUEUE_MESSAGES)
                .set("queue.buffering.max.kbytes", QUEUE_KIB)
                // The batch is complete when it is sent, so lingering would only delay the commit.
                .set("linger.ms", "0");
            let context = OffsetTracker {
                topic: tracked.to_owned(),
                ends: Mutex::default(),
            };
            let producer: BaseProducer<OffsetTracker> = client.open(config, context)?;
            producer
                .init_transactions(client::QUERY_TIMEOUT)
                .map_err(|error| failed(&id, "starting", error))?;
            Ok(Opaque(producer))
        };
        Ok(Self {
            id: id.to_owned(),
            producers: [open(0)?, open(1)?],
            turn: 0,
        })
    }

    /// Begins the next transaction.
    pub fn begin(&mut self) -> Result<Transaction<'_>, TransactionError> {
        self.turn = 1 - self.turn;
        let producer = &self.producers[self.turn];
        producer
            .begin_transaction()
            .map_err(|error| failed(&self.id, "beginning", error))?;
        Ok(Transaction {
            id: &self.id,
            producer,
        })
    }
}

// === impl Transaction ===

impl Transaction<'_> {
    /// Adds a record. Waits up to 10 s while the queue is full.
    pub fn send(&mut self, record: OutgoingRecord<'_>) -> Result<(), TransactionError> {
        let mut record = BaseRecord::from(record);
        // The clock is read only if the queue is full.
        let mut full_since = None;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, unsent)) if is_full(&error) => {
                    let since = *full_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= TRANSACTION_TIMEOUT {
                        return Err(failed(self.id, "sending", error));
                    }
                    self.producer.poll(Duration::from_millis(1));
                    record = unsent;
                }
                Err((error, _)) => return Err(failed(self.id, "sending", error)),
            }
        }
    }

    /// Publishes all records together with the next offsets of the group of `consumer`. Blocks the
    /// thread.
    pub fn commit(
        self,
        next: &[(Partition, i64)],
        consumer: &Consumer,
    ) -> Result<EndOffsets, TransactionError> {
        self.producer
            .send_offsets_to_transaction(
                &offsets(next),
                &consumer.group_metadata(),
                client::QUERY_TIMEOUT,
            )
            .map_err(|error| failed(self.id, "adding offsets", error))?;
        self.commit_records()
    }

    /// Publishes all records without offsets of a consumer group. Blocks the thread.
    pub fn commit_records(self) -> Result<EndOffsets, TransactionError> {
        self.drain();
        self.producer
            .commit_transaction(TRANSACTION_TIMEOUT)
            .map_err(|error| failed(self.id, "committing", error))?;
        let ends = self.producer.context().ends.lock();
        Ok(mem::take(
            &mut *ends.unwrap_or_else(PoisonError::into_inner),
        ))
    }

    /// Polls until every record is acknowledged. `commit_transaction` polls for 100 ms at a time
    /// without returning early, which would add 100 ms to each commit.
    fn drain(&self) {
        let until = Instant::now() + TRANSACTION_TIMEOUT;
        while self.producer.in_flight_count() > 0 && Instant::now() < until {
            self.producer.poll(Duration::from_millis(1));
        }
    }
}

// === impl OffsetTracker ===

impl ClientContext for OffsetTracker {}

impl ProducerContext for OffsetTracker {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        let Ok(record) = delivered else {
            return;
        };
        if record.topic() == self.topic {
            let ends = self.ends.lock();
            ends.unwrap_or_else(PoisonError::into_inner)
                .insert(record.partition(), record.offset() + 1);
        }
    }
}

// === impl OutgoingRecord ===

impl<'a> From<OutgoingRecord<'a>> for BaseRecord<'a, [u8], [u8]> {
    fn from(record: OutgoingRecord<'a>) -> Self {
        Self {
            topic: record.topic,
            partition: record.partition,
            payload: record.value,
            key: record.key,
            timestamp: record.timestamp_ms,
            headers: Some(record.headers.0),
            delivery_opaque: (),
        }
    }
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

fn failed(id: &str, doing: &'static str, source: KafkaError) -> TransactionError {
    match source.rdkafka_error_code() {
        Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced) => {
            TransactionError::Fenced { id: id.to_owned() }
        }
        _ if client::is_rejected(&source) => TransactionError::Rejected(source),
        _ => TransactionError::Failed { doing, source },
    }
}
