//! The partitions of one assignment: gathers records, and starts the next transaction when the
//! previous one is done.

use std::{
    future::{pending, ready},
    time::Duration,
};

use formline_core::{Record, event, kafka::record::Partition};
use futures::future::BoxFuture;
use tokio::time::timeout;

use super::{
    batch::RowBuffer,
    database::{Database, OffsetMove, Positions},
    delivery::{BatchDelivery, DeliveryError, StoredBatch},
    metrics::PostgresMetrics,
};
use crate::{
    engine::{
        dead_letter_queue::DeadLetterQueue,
        membership::{Offsets, Progress, Session},
    },
    error::Error,
};

/// Partitions that are being stored.
pub(crate) struct PostgresSession {
    connection: Connection,
    buffer: RowBuffer,
    /// The offsets in the database.
    stored: Positions,
    /// Behind the last record that was read of each partition. Positions count only from the first
    /// record on: a seek makes them invalid, and this is a defence in case one is reported.
    read: Positions,
    dead_letters: DeadLetterQueue,
    metrics: PostgresMetrics,
}

enum Connection {
    Idle(Database),
    Delivering(BoxFuture<'static, Result<StoredBatch, DeliveryError>>),
    Closed,
}

/// How long a stopping sink waits for the transaction in flight. If it takes longer, the next start
/// reads its outcome.
const GRACE: Duration = Duration::from_secs(5);

// === impl PostgresSession ===

impl PostgresSession {
    pub(crate) fn new(
        database: Database,
        stored: Positions,
        batch_rows: usize,
        dead_letters: DeadLetterQueue,
        metrics: PostgresMetrics,
    ) -> Self {
        Self {
            connection: Connection::Idle(database),
            buffer: RowBuffer::new(batch_rows),
            stored,
            read: Positions::new(),
            dead_letters,
            metrics,
        }
    }

    /// Starts the next transaction if there is something to store.
    fn start(&mut self, positions: &[(Partition, i64)]) {
        if !matches!(self.connection, Connection::Idle(_)) {
            return;
        }
        let mut batch = self.buffer.take();
        if self.buffer.is_empty() {
            for (partition, next) in positions {
                let is_beyond = self.read.get(partition).is_some_and(|read| next >= read);
                if is_beyond && self.stored.get(partition) != Some(next) {
                    batch.next.insert(partition.clone(), *next);
                }
            }
        }
        if batch.next.is_empty() {
            return;
        }
        let moves = batch.next.iter().map(|(partition, next)| OffsetMove {
            partition: partition.clone(),
            expected: self.stored.get(partition).copied().unwrap_or_default(),
            next: *next,
        });
        let moves = moves.collect();
        let connection = std::mem::replace(&mut self.connection, Connection::Closed);
        if let Connection::Idle(database) = connection {
            let delivery = BatchDelivery {
                database,
                batch,
                moves,
                dead_letters: self.dead_letters.clone(),
                metrics: self.metrics.clone(),
            };
            self.connection = Connection::Delivering(Box::pin(delivery.run()));
        }
    }

    /// Waits for the transaction in flight, and returns the offsets that it has stored. Cancel
    /// safe.
    async fn delivered(&mut self) -> Result<Offsets, DeliveryError> {
        let Connection::Delivering(delivery) = &mut self.connection else {
            return pending().await;
        };
        let delivered = delivery.await;
        self.connection = Connection::Closed;
        let StoredBatch { database, next } = delivered?;
        self.connection = Connection::Idle(database);
        self.stored.extend(next.clone());
        Ok(next.into_iter().collect())
    }
}

impl Session for PostgresSession {
    /// A transaction ends before Kafka misses the member (`max.poll.interval.ms`).
    fn has_room(&self) -> bool {
        self.buffer.has_room()
    }

    fn buffered(&self) -> usize {
        self.buffer.len()
    }

    fn take(&mut self, record: Record) {
        let partition = &record.partition;
        let stored = self.stored.get(partition).copied().unwrap_or_default();
        let known = self.read.insert(partition.clone(), record.offset + 1);
        if known.is_none() && record.offset < stored {
            // The Kafka client starts over if the offset no longer exists. Ids prevent duplicates.
            tracing::warn!(
                ?record,
                stored,
                "the topic ends before the offset that is stored in postgres"
            );
        }
        let is_for_us = event::is_for(&record, &self.dead_letters.sink.group());
        self.buffer.add(record, is_for_us);
    }

    fn advance<'a>(
        &'a mut self,
        positions: &'a [(Partition, i64)],
    ) -> BoxFuture<'a, Result<Offsets, Error>> {
        self.start(positions);
        Box::pin(ready(Ok(Offsets::new())))
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Progress, Error>> {
        Box::pin(async move {
            match self.delivered().await {
                Ok(offsets) => Ok(Progress::Advanced(offsets)),
                Err(DeliveryError::Lost(failure)) => {
                    let sink = self.dead_letters.sink.group();
                    tracing::warn!(%failure, sink, "reading the offsets again");
                    let health = &self.dead_letters.producer.health;
                    health.waiting(failure.to_string());
                    Ok(Progress::Lost)
                }
                Err(DeliveryError::Stopped(error)) => Err(error),
                // The membership ends at its next turn.
                Err(DeliveryError::Shutdown) => Ok(Progress::Unchanged),
            }
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Offsets> {
        Box::pin(async move {
            let mut offsets = Offsets::new();
            if matches!(self.connection, Connection::Delivering(_))
                && let Ok(Ok(stored)) = timeout(GRACE, self.delivered()).await
            {
                offsets = stored;
            }
            if let Connection::Idle(database) = self.connection {
                // A server that does not respond is not waited for.
                let _closed = timeout(GRACE, database.close()).await;
            }
            offsets
        })
    }
}
