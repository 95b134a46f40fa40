//! One ownership of partitions, from reading their offsets until they go or something fails: gathers records, and
//! starts the next transaction when the one before is done. It leaves reading Kafka to `worker`.

use std::future::pending;

use formline_core::{Record, event, record::Partition};
use futures::future::BoxFuture;

use super::{
    batch::Buffer,
    database::{Database, Move, Positions},
    delivery::{Delivered, Delivery, Trouble},
    metrics::Metrics,
};
use crate::parking::Parking;

/// Partitions that are being stored.
pub(crate) struct Session {
    hand: Hand,
    buffer: Buffer,
    /// What the database says.
    stored: Positions,
    /// Behind the last record that was read of each partition. Before the first one after a seek, Kafka's client may
    /// still tell the position from before it.
    read: Positions,
    parking: Parking,
    metrics: Metrics,
}

enum Hand {
    /// Nothing is under way.
    Free(Database),
    Delivering(BoxFuture<'static, Result<Delivered, Trouble>>),
    /// The connection is gone.
    Empty,
}

// === impl Session ===

impl Session {
    pub(crate) fn new(
        database: Database,
        stored: Positions,
        batch_rows: usize,
        parking: Parking,
        metrics: Metrics,
    ) -> Self {
        Self {
            hand: Hand::Free(database),
            buffer: Buffer::new(batch_rows),
            stored,
            read: Positions::new(),
            parking,
            metrics,
        }
    }

    /// Whether there is room for the next record.
    pub(crate) fn has_room(&self) -> bool {
        self.buffer.has_room()
    }

    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn take(&mut self, record: Record) {
        let partition = &record.partition;
        let stored = self.stored.get(partition).copied().unwrap_or_default();
        let known = self.read.insert(partition.clone(), record.offset + 1);
        if known.is_none() && record.offset < stored {
            // Kafka's client begins anew where the offset is not there any more. Ids see to it that nothing comes twice.
            tracing::warn!(
                ?record,
                stored,
                "the topic is shorter than what is stored of it"
            );
        }
        let is_for_us = event::is_for(&record, &self.parking.sink.group());
        self.buffer.add(record, is_for_us);
    }

    /// Starts the next transaction if there is something to store. `positions` says where each partition will be read
    /// next, which control records carry beyond the last record.
    pub(crate) fn advance(&mut self, positions: &[(Partition, i64)]) {
        if !matches!(self.hand, Hand::Free(_)) {
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
        let moves = batch.next.iter().map(|(partition, next)| Move {
            partition: partition.clone(),
            expected: self.stored.get(partition).copied().unwrap_or_default(),
            next: *next,
        });
        let moves = moves.collect();
        if let Hand::Free(database) = std::mem::replace(&mut self.hand, Hand::Empty) {
            let delivery = Delivery {
                database,
                batch,
                moves,
                parking: self.parking.clone(),
                metrics: self.metrics.clone(),
            };
            self.hand = Hand::Delivering(Box::pin(delivery.run()));
        }
    }

    /// Waits for the transaction under way. What it has stored is returned. Cancel safe.
    pub(crate) async fn delivered(&mut self) -> Result<Vec<(Partition, i64)>, Trouble> {
        let Hand::Delivering(delivery) = &mut self.hand else {
            return pending().await;
        };
        let delivered = delivery.await;
        self.hand = Hand::Empty;
        let Delivered { database, next } = delivered?;
        self.hand = Hand::Free(database);
        self.stored.extend(next.clone());
        Ok(next.into_iter().collect())
    }

    /// Whether a transaction is under way.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.hand, Hand::Delivering(_))
    }

    /// Gives the connection up.
    pub(crate) async fn close(self) {
        if let Hand::Free(database) = self.hand {
            database.close().await;
        }
    }
}
