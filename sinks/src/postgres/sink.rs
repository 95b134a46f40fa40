//! PostgreSQL as the destination of a sink. Whatever error PostgreSQL reports, the sink waits and
//! retries; it stops only for problems that an operator must solve in Kafka.

use std::time::Duration;

use formline_core::{Consumer, kafka::record::Partition, retry::Backoff};
use futures::future::BoxFuture;

use super::{
    database::{Database, Positions, Target},
    failure::PostgresFailure,
    metrics::PostgresMetrics,
    session::PostgresSession,
};
use crate::{
    engine::{
        context::SinkContext,
        membership::{Assignment, Destination, Opened},
    },
    error::Error,
};

/// Where the rows of one sink go.
#[derive(Debug)]
pub(crate) struct PostgresDestination {
    pub(crate) context: SinkContext,
    pub(crate) target: Target,
    pub(crate) batch_rows: usize,
    pub(crate) metrics: PostgresMetrics,
}

// === impl PostgresDestination ===

impl Destination for PostgresDestination {
    type Position = (Database, Positions);

    fn locating(&self) -> &'static str {
        "reading its offsets from postgres"
    }

    /// Reads the offsets, and retries while PostgreSQL is unavailable or refuses.
    fn locate(
        &self,
        _: &mut Consumer,
        partitions: &[Partition],
    ) -> Result<BoxFuture<'static, Result<Self::Position, Error>>, Error> {
        let (target, health) = (self.target.clone(), self.context.health.clone());
        let (partitions, sink) = (partitions.to_owned(), self.context.sink.group());
        Ok(Box::pin(async move {
            let mut passing = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
            let mut refused = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
            let mut logged = None;
            loop {
                let failure = match read_offsets(&target, &partitions).await {
                    Ok(position) => return Ok(position),
                    Err(failure) => failure,
                };
                health.waiting(failure.to_string());
                if logged.as_ref() != Some(&failure) {
                    tracing::warn!(%failure, sink, "postgres is unavailable; rows wait in kafka");
                    logged = Some(failure.clone());
                }
                let delay = match failure {
                    PostgresFailure::Refused { .. } => refused.delay(),
                    _ => passing.delay(),
                };
                tokio::time::sleep(delay).await;
            }
        }))
    }

    /// Reading continues where the database ends.
    fn open(&self, (database, positions): Self::Position, _: &Assignment) -> Result<Opened, Error> {
        let starts = positions
            .iter()
            .map(|(partition, next)| (partition.clone(), *next))
            .collect();
        let (sink, partitions) = (self.context.sink.group(), positions.len());
        tracing::info!(sink, partitions, "storing in postgres");
        let session = PostgresSession::new(
            database,
            positions,
            self.batch_rows,
            self.context.dead_letters.clone(),
            self.metrics.clone(),
        );
        Ok(Opened {
            session: Box::new(session),
            starts,
        })
    }
}

async fn read_offsets(
    target: &Target,
    partitions: &[Partition],
) -> Result<(Database, Positions), PostgresFailure> {
    let mut database = target.connect().await?;
    let positions = database.positions(partitions).await?;
    Ok((database, positions))
}
