//! Publishes what a step has made of a batch, together with the offsets of the batch, or not at all (KIP-98, KIP-447).

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

use crate::{
    kafka::client::{self, Client},
    kafka::consumer::{Consumer, offsets},
    kafka::record::{Outgoing, Partition},
};

/// The transactional producers of one worker.
///
/// There are two, used in turn. After a commit the coordinator still writes its markers, and the next transaction of
/// the same id would wait a fixed 20 ms for them inside librdkafka. The second commits only after the first's commit
/// has returned, so their order is kept.
pub struct Transactions {
    id: String,
    producers: [BaseProducer<Followed>; 2],
    turn: usize,
}

/// Partitions of the followed topic that a transaction has written to, each with the offset behind its last record.
pub type Ends = BTreeMap<i32, i64>;

/// One open transaction. Only `commit` publishes it. To take it back, drop it together with its `Transactions`: the
/// next ones with the same id end it first of all. There is no `abort`, because after any failure the outcome must be
/// settled by new producers anyway.
#[must_use]
pub struct Transaction<'a> {
    id: &'a str,
    producer: &'a BaseProducer<Followed>,
}

/// Notes where records of one topic come to lie.
struct Followed {
    topic: String,
    ends: Mutex<Ends>,
}

/// Why nothing of a transaction was published, as far as anyone can tell: after any of them, drop the producers,
/// make new ones (which settles the outcome) and continue from the committed offsets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka has given the transaction up: it was open for too long, because the process was frozen or Kafka away, or
    /// another process uses the same id. Retry; in the second case the consumer is fenced too, and says so.
    #[error("kafka has given up the transaction of `{id}`")]
    Fenced {
        /// The transactional id.
        id: String,
    },
    /// Kafka failed or was too slow. Retry.
    #[error("the transaction failed while {doing}: {source}")]
    Failed {
        /// Which part of it.
        doing: &'static str,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// Kafka does not take one of the records, for instance because it is too large for its topic. Which one is not said:
    /// try them one by one, and reject it.
    #[error("kafka refuses a record: {0}")]
    Refused(#[source] KafkaError),
    /// A producer could not be made.
    #[error(transparent)]
    Client(#[from] client::Error),
}

/// Kafka aborts a transaction of a process that has vanished after this time; readers wait for it that long.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes and records that one transaction may have in librdkafka's queue; at the bound `send` waits for Kafka.
const QUEUE_KIB: &str = "65536";
const QUEUE_MESSAGES: &str = "100000";

// === impl Transactions ===

impl Transactions {
    /// Makes both producers and ends whatever an earlier process with this id has left open. Each commit says what it
    /// has written to the topic `followed`; an empty name follows none. Blocks the thread.
    pub fn open(client: &Client, id: &str, followed: &str) -> Result<Self, Error> {
        let one = |n: u8| -> Result<BaseProducer<Followed>, Error> {
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
                // A batch is complete when it is sent; waiting for more only delays its commit.
                .set("linger.ms", "0");
            let context = Followed {
                topic: followed.to_owned(),
                ends: Mutex::default(),
            };
            let producer: BaseProducer<Followed> = client.open(config, context)?;
            producer
                .init_transactions(client::QUERY_TIMEOUT)
                .map_err(|error| failed(&id, "starting", error))?;
            Ok(producer)
        };
        Ok(Self {
            id: id.to_owned(),
            producers: [one(0)?, one(1)?],
            turn: 0,
        })
    }

    /// Begins the next transaction.
    pub fn begin(&mut self) -> Result<Transaction<'_>, Error> {
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

impl std::fmt::Debug for Transactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactions")
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}

// === impl Transaction ===

impl Transaction<'_> {
    /// Adds a record. Waits while the queue is full.
    pub fn send(&mut self, record: Outgoing<'_>) -> Result<(), Error> {
        let mut record = BaseRecord::from(record);
        // Only a full queue needs a clock.
        let mut full_since = None;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) if is_full(&error) => {
                    let since = *full_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= TRANSACTION_TIMEOUT {
                        return Err(failed(self.id, "sending", error));
                    }
                    self.producer.poll(Duration::from_millis(1));
                    record = back;
                }
                Err((error, _)) => return Err(failed(self.id, "sending", error)),
            }
        }
    }

    /// Publishes all records together with the next offsets of `group`. Blocks the thread.
    pub fn commit(self, next: &[(Partition, i64)], group: &Consumer) -> Result<Ends, Error> {
        self.producer
            .send_offsets_to_transaction(
                &offsets(next),
                &group.group_metadata(),
                client::QUERY_TIMEOUT,
            )
            .map_err(|error| failed(self.id, "adding offsets", error))?;
        self.commit_records()
    }

    /// The same for records that come from no consumer group.
    pub fn commit_records(self) -> Result<Ends, Error> {
        self.drain();
        self.producer
            .commit_transaction(TRANSACTION_TIMEOUT)
            .map_err(|error| failed(self.id, "committing", error))?;
        let ends = self.producer.context().ends.lock();
        Ok(mem::take(
            &mut *ends.unwrap_or_else(PoisonError::into_inner),
        ))
    }

    /// Serves acknowledgements until none is missing. `commit_transaction` would do it in polls of 100 ms that do not
    /// return early, which costs 100 ms a commit.
    fn drain(&self) {
        let until = Instant::now() + TRANSACTION_TIMEOUT;
        while self.producer.in_flight_count() > 0 && Instant::now() < until {
            self.producer.poll(Duration::from_millis(1));
        }
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

// === impl Followed ===

impl ClientContext for Followed {}

impl ProducerContext for Followed {
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

impl<'a> From<Outgoing<'a>> for BaseRecord<'a, [u8], [u8]> {
    fn from(record: Outgoing<'a>) -> Self {
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

fn failed(id: &str, doing: &'static str, source: KafkaError) -> Error {
    match source.rdkafka_error_code() {
        Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced) => {
            Error::Fenced { id: id.to_owned() }
        }
        _ if client::is_refusal(&source) => Error::Refused(source),
        _ => Error::Failed { doing, source },
    }
}
