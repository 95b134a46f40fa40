//! Brings one batch into the database: dead letters to Kafka first, then rows and offsets in one transaction.

use super::{
    batch::Batch,
    database::{Database, Move, Positions},
    failure::Failure,
    metrics::Metrics,
    row::Row,
};
use crate::{
    Error,
    parking::{Letter, Parking},
};

/// One batch on its way.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) database: Database,
    pub(crate) batch: Batch,
    pub(crate) moves: Vec<Move>,
    pub(crate) parking: Parking,
    pub(crate) metrics: Metrics,
}

/// The database holds it.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) database: Database,
    /// Where each partition of the batch goes on.
    pub(crate) next: Positions,
}

/// Why a batch was not delivered. The connection is closed, and what became of the batch is for the database to say.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Look at the offsets and go on there.
    Lost(Failure),
    /// A person must act. Stop.
    Stopped(Error),
    /// The shutdown came first.
    Shutdown,
}

// === impl Delivery ===

impl Delivery {
    pub(crate) async fn run(mut self) -> Result<Delivered, Trouble> {
        loop {
            self.park().await?;
            let rows = &self.batch.rows;
            match self.database.store(rows, &self.moves).await {
                Ok(new) => {
                    self.metrics.stored(rows, new);
                    return Ok(Delivered {
                        database: self.database,
                        next: self.batch.next,
                    });
                }
                Err(failure) => {
                    self.metrics.failed(&failure);
                    let Failure::Row(why) = failure else {
                        return Err(failure.into());
                    };
                    self.sort_out(&why).await?;
                }
            }
        }
    }

    /// A crash after this and before the offsets have moved parks the same records again: `core::ledger` knows them by
    /// their place.
    async fn park(&mut self) -> Result<(), Trouble> {
        for letter in self.batch.letters.drain(..) {
            if !self.parking.park(&letter).await.map_err(Trouble::Stopped)? {
                return Err(Trouble::Shutdown);
            }
        }
        Ok(())
    }

    /// Makes dead letters of the rows that are at fault.
    async fn sort_out(&mut self, why: &str) -> Result<(), Trouble> {
        let bad = self.database.find_bad(&self.batch.rows).await?;
        if bad.is_empty() {
            // Each row alone is taken, for instance because a constraint is checked only at the commit.
            return Err(Failure::Passing(why.to_owned()).into());
        }
        let mut bad = bad.into_iter().peekable();
        let rows = std::mem::take(&mut self.batch.rows);
        for (place, row) in rows.into_iter().enumerate() {
            match bad.next_if(|(at, _)| *at == place) {
                Some((_, why)) => self.batch.letters.push(refused(row, why)),
                None => self.batch.rows.push(row),
            }
        }
        Ok(())
    }
}

fn refused(row: Row, detail: String) -> Letter {
    Letter {
        record: row.record,
        reason: "refused".into(),
        detail,
        attempts: 1,
    }
}

// === impl Trouble ===

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Lost(failure)
    }
}
