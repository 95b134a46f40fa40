//! Sends single records and waits for Kafka's acknowledgement. Steps, which need transactions, use `transaction`.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord, Producer as _},
    util::Timeout,
};

use crate::{
    kafka::client::{self, Client},
    kafka::record::Outgoing,
};

/// An idempotent producer whose batching follows the load.
///
/// It is two producers: one sends at once, the other gathers for a millisecond. Alone, a record should not wait;
/// under load, waiting a millisecond saves a third of the CPU time of a submission. librdkafka cannot change
/// `linger.ms` while it runs. Records sent one after another keep their order, since the first is acknowledged before
/// the second is sent; records in flight together never had one.
pub struct Producer {
    prompt: FutureProducer,
    gathering: FutureProducer,
    in_flight: AtomicUsize,
}

/// Limits of a producer.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The longest wait for an acknowledgement. Must lie below the time limit of the request that waits for it.
    pub delivery_timeout: Duration,
    /// Records in the queue of each of the two producers; at the bound `send` fails with `Error::QueueFull`.
    pub queue_messages: usize,
    /// The same in KiB.
    pub queue_kib: usize,
}

/// Where an acknowledged record lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// Why a record was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue is full. Nothing was sent; retry later.
    #[error("the producer queue is full")]
    QueueFull,
    /// No acknowledgement in time. The record may be in the log nevertheless (KIP-98); retry with the same id.
    #[error("kafka did not acknowledge in time: {0}")]
    NotAcknowledged(#[source] KafkaError),
    /// Kafka does not take this record. Reject it.
    #[error("kafka refuses the record: {0}")]
    Refused(#[source] KafkaError),
    /// The producer is unusable from now on. Stop, and start the process again.
    #[error("the producer failed for good: {0}")]
    Fatal(#[source] KafkaError),
}

/// A record that finds fewer others under way goes at once; with more of them, `Producer` gathers.
const FEW: usize = 2;

// === impl Producer ===

impl Producer {
    /// Makes both producers. Kafka need not be there yet.
    pub fn open(client: &Client, options: Options) -> Result<Self, client::Error> {
        let with_linger = |milliseconds: &str| {
            let mut config = client.producing();
            config
                .set("linger.ms", milliseconds)
                .set(
                    "delivery.timeout.ms",
                    options.delivery_timeout.as_millis().to_string(),
                )
                .set(
                    "queue.buffering.max.messages",
                    options.queue_messages.to_string(),
                )
                .set("queue.buffering.max.kbytes", options.queue_kib.to_string());
            client.open(config, rdkafka::client::DefaultClientContext)
        };
        Ok(Self {
            prompt: with_linger("0")?,
            gathering: with_linger("1")?,
            in_flight: AtomicUsize::new(0),
        })
    }

    /// Sends a record and waits until Kafka has it on all in-sync replicas.
    pub async fn send(&self, record: Outgoing<'_>) -> Result<Delivery, Error> {
        let in_flight = InFlight::enter(&self.in_flight);
        let producer = if in_flight.before < FEW {
            &self.prompt
        } else {
            &self.gathering
        };
        let delivery = producer
            .send_result(record.into())
            .map_err(|(error, _)| Error::from(error))?;
        let delivered = delivery
            .await
            .expect("the producer answers each record before it is dropped");
        let delivered = delivered.map_err(|(error, _)| Error::from(error))?;
        Ok(Delivery {
            partition: delivered.partition,
            offset: delivered.offset,
        })
    }

    /// Records that were sent and not yet acknowledged.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Waits until everything is acknowledged or given up, at most for `limit`. Blocks the thread.
    pub fn flush(&self, limit: Duration) {
        for producer in [&self.prompt, &self.gathering] {
            if let Err(error) = producer.flush(Timeout::After(limit)) {
                tracing::warn!(%error, "records were still in flight when the producer stopped");
            }
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

/// Counts a record as in flight until it is dropped, also when the caller gives up waiting.
struct InFlight<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> InFlight<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        Self {
            count,
            before: count.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'a> From<Outgoing<'a>> for FutureRecord<'a, [u8], [u8]> {
    fn from(record: Outgoing<'a>) -> Self {
        Self {
            topic: record.topic,
            partition: record.partition,
            payload: record.value,
            key: record.key,
            timestamp: record.timestamp_ms,
            headers: Some(record.headers.0),
        }
    }
}

// === impl Error ===

impl From<KafkaError> for Error {
    fn from(error: KafkaError) -> Self {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::QueueFull) => Self::QueueFull,
            Some(Code::Fatal) => Self::Fatal(error),
            _ if client::is_refusal(&error) => Self::Refused(error),
            _ => Self::NotAcknowledged(error),
        }
    }
}
