//! Stores one batch: first dead letters in Kafka, then rows and offsets in one transaction.

use super::{
    batch::RowBatch,
    database::{Database, OffsetMove, Positions},
    failure::PostgresFailure,
    metrics::PostgresMetrics,
    row::ResponseRow,
};
use crate::{
    engine::dead_letter_queue::{DeadLetter, DeadLetterQueue},
    error::Error,
};

/// The delivery of one batch.
#[derive(Debug)]
pub(crate) struct BatchDelivery {
    pub(crate) database: Database,
    pub(crate) batch: RowBatch,
    pub(crate) moves: Vec<OffsetMove>,
    pub(crate) dead_letters: DeadLetterQueue,
    pub(crate) metrics: PostgresMetrics,
}

/// A batch that is stored.
#[derive(Debug)]
pub(crate) struct StoredBatch {
    pub(crate) database: Database,
    /// The next offset of each partition of the batch.
    pub(crate) next: Positions,
}

/// Why a batch was not delivered. The connection is closed, and the offsets in the database say
/// whether the batch is stored.
#[derive(Debug)]
pub(crate) enum DeliveryError {
    /// Read the offsets and continue there.
    Lost(PostgresFailure),
    /// An operator must act. Stop.
    Stopped(Error),
    /// The shutdown began first.
    Shutdown,
}

// === impl BatchDelivery ===

impl BatchDelivery {
    pub(crate) async fn run(mut self) -> Result<StoredBatch, DeliveryError> {
        loop {
            self.send_dead_letters().await?;
            let rows = &self.batch.rows;
            match self.database.store(rows, &self.moves).await {
                Ok(new) => {
                    self.metrics.stored(rows, new);
                    return Ok(StoredBatch {
                        database: self.database,
                        next: self.batch.next,
                    });
                }
                Err(failure) => {
                    self.metrics.failed(&failure);
                    let PostgresFailure::Row(cause) = failure else {
                        return Err(failure.into());
                    };
                    self.reject_rows(&cause).await?;
                }
            }
        }
    }

    /// A crash after this and before the offsets have moved writes the same dead letters again; the
    /// dead-letter index recognises them by their position.
    async fn send_dead_letters(&mut self) -> Result<(), DeliveryError> {
        for letter in self.batch.letters.drain(..) {
            let sent = self.dead_letters.send(&letter).await;
            if !sent.map_err(DeliveryError::Stopped)? {
                return Err(DeliveryError::Shutdown);
            }
        }
        Ok(())
    }

    /// Moves the rows that PostgreSQL rejects to the dead letters.
    async fn reject_rows(&mut self, cause: &str) -> Result<(), DeliveryError> {
        let bad = self.database.find_bad(&self.batch.rows).await?;
        if bad.is_empty() {
            // Each row alone is accepted, for instance because a constraint is checked only at the
            // commit.
            return Err(PostgresFailure::Passing(cause.to_owned()).into());
        }
        let mut bad = bad.into_iter().peekable();
        let rows = std::mem::take(&mut self.batch.rows);
        for (index, row) in rows.into_iter().enumerate() {
            match bad.next_if(|(at, _)| *at == index) {
                Some((_, cause)) => self.batch.letters.push(rejected(row, cause)),
                None => self.batch.rows.push(row),
            }
        }
        Ok(())
    }
}

fn rejected(row: ResponseRow, detail: String) -> DeadLetter {
    DeadLetter {
        record: row.record,
        reason: "refused".into(),
        detail,
        attempts: 1,
    }
}

// === impl DeliveryError ===

impl From<PostgresFailure> for DeliveryError {
    fn from(failure: PostgresFailure) -> Self {
        Self::Lost(failure)
    }
}
