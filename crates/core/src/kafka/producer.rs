//! Sends single records and waits for the acknowledgement of Kafka. Steps need transactions and use
//! [`transaction`](super::transaction).

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rdkafka::{
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord, Producer as _},
    util::Timeout,
};

use super::{
    client::{self, Client, ClientError},
    opaque::Opaque,
    record::OutgoingRecord,
};

/// An idempotent producer that batches only under load.
///
/// It consists of two librdkafka producers, because `linger.ms` cannot change at run time: one
/// sends at once, the other lingers for one millisecond. A single record is not delayed; under
/// load, lingering saves a third of the CPU time of a submission. Records that are sent one after
/// another keep their order, because the first is acknowledged before the second is sent. Records
/// that are in flight at the same time have no order.
///
/// ```no_run
/// use std::time::Duration;
///
/// use formline_core::{
///     Client, Producer,
///     kafka::{producer::ProducerOptions, record::OutgoingRecord},
/// };
///
/// # async fn example(client: &Client, record: OutgoingRecord<'_>)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// let options = ProducerOptions {
///     delivery_timeout: Duration::from_secs(5),
///     queue_messages: 1000,
///     queue_kib: 4096,
/// };
/// let producer = Producer::open(client, options)?;
/// let delivery = producer.send(record).await?;
/// println!("partition {}, offset {}", delivery.partition, delivery.offset);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Producer {
    immediate: Opaque<FutureProducer>,
    lingering: Opaque<FutureProducer>,
    in_flight: AtomicUsize,
}

/// Limits of a [`Producer`].
#[derive(Clone, Copy, Debug)]
pub struct ProducerOptions {
    /// Maximum time until the acknowledgement. It must be shorter than the timeout of the request
    /// that waits for it.
    pub delivery_timeout: Duration,
    /// Capacity of the queue of each of the two producers, in records. When it is full, `send`
    /// fails with [`ProducerError::QueueFull`].
    pub queue_messages: usize,
    /// Capacity of the queue of each of the two producers, in KiB.
    pub queue_kib: usize,
}

/// The position of an acknowledged record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// Number of the partition.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// Why a record was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    /// The queue is full and the record was not sent. Retry later.
    #[error("the producer queue is full")]
    QueueFull,
    /// No acknowledgement arrived in time. The record may have been written (KIP-98). Retry with
    /// the same id.
    #[error("kafka did not acknowledge in time: {0}")]
    NotAcknowledged(#[source] KafkaError),
    /// Kafka rejected this record. Do not retry.
    #[error("kafka rejects the record: {0}")]
    Rejected(#[source] KafkaError),
    /// The producer is unusable. Stop, and restart the process.
    #[error("the producer failed fatally: {0}")]
    Fatal(#[source] KafkaError),
}

/// Number of records in flight below which the next record is sent at once.
const LINGER_THRESHOLD: usize = 2;

/// Counts a record as in flight until it is dropped, also when the caller is cancelled.
struct InFlight<'a> {
    count: &'a AtomicUsize,
    /// Number of records that were in flight before this one.
    before: usize,
}

// === impl Producer ===

impl Producer {
    /// Creates both producers. Kafka may be unreachable.
    pub fn open(client: &Client, options: ProducerOptions) -> Result<Self, ClientError> {
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
            client.open(config, DefaultClientContext).map(Opaque)
        };
        Ok(Self {
            immediate: with_linger("0")?,
            lingering: with_linger("1")?,
            in_flight: AtomicUsize::new(0),
        })
    }

    /// Sends a record and waits until all in-sync replicas have acknowledged it.
    ///
    /// If the caller drops the future, the record may still be written.
    pub async fn send(&self, record: OutgoingRecord<'_>) -> Result<Delivery, ProducerError> {
        let in_flight = InFlight::enter(&self.in_flight);
        let producer = if in_flight.before < LINGER_THRESHOLD {
            &self.immediate
        } else {
            &self.lingering
        };
        let delivery = producer
            .send_result(record.into())
            .map_err(|(error, _)| ProducerError::from(error))?;
        let delivered = delivery
            .await
            .expect("the producer completes each delivery before it is dropped");
        let delivered = delivered.map_err(|(error, _)| ProducerError::from(error))?;
        Ok(Delivery {
            partition: delivered.partition,
            offset: delivered.offset,
        })
    }

    /// Returns the number of records that were sent and not yet acknowledged.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Waits up to `limit` for each of the two producers until every record is acknowledged or has
    /// failed. Blocks the thread.
    pub fn flush(&self, limit: Duration) {
        for producer in [&self.immediate, &self.lingering] {
            if let Err(error) = producer.flush(Timeout::After(limit)) {
                tracing::warn!(%error, "records were still in flight when the producer stopped");
            }
        }
    }
}

// === impl InFlight ===

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

// === impl OutgoingRecord ===

impl<'a> From<OutgoingRecord<'a>> for FutureRecord<'a, [u8], [u8]> {
    fn from(record: OutgoingRecord<'a>) -> Self {
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

// === impl ProducerError ===

impl From<KafkaError> for ProducerError {
    fn from(error: KafkaError) -> Self {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::QueueFull) => Self::QueueFull,
            Some(Code::Fatal) => Self::Fatal(error),
            _ if client::is_rejected(&error) => Self::Rejected(error),
            _ => Self::NotAcknowledged(error),
        }
    }
}
