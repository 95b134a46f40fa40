//! Responses for good: rows in PostgreSQL, each exactly once, whatever crashes.
//!
//! The database is the truth: the offset up to which a partition is stored moves in the transaction that stores its rows
//! (`database`), and reading begins there (`worker`). So a commit whose outcome is unknown needs no care: look again.
//! Kafka's own offsets are committed afterwards, for the lag that operators see.
//!
//! Two processes that both believe to own a partition cannot both move its offset: the second one finds another offset
//! than it expects, stores nothing and looks again. A row that is the data's fault is found by halving and parked
//! (`delivery`), before the offset passes it.

mod batch;
mod database;
mod delivery;
mod failure;
mod metrics;
mod outcomes;
mod row;
mod session;
mod worker;

use formline_core::{
    Telemetry,
    app::{Postgres, is_postgres_schema},
    settings::Secret,
};
use sqlx::postgres::PgConnectOptions;

pub(crate) use self::outcomes::outcomes;
use self::{database::Target, metrics::Metrics, worker::Worker};
use crate::{
    Error,
    metrics::Outcomes,
    run::{Common, Work},
};

/// The work of each postgres sink.
pub(crate) fn open(
    url: &Secret,
    telemetry: &Telemetry,
    sinks: Vec<(Common, Postgres)>,
) -> Result<Vec<(Common, Work)>, Error> {
    let options: PgConnectOptions = url.expose().parse().map_err(Error::PostgresUrl)?;
    let transactions = Outcomes::register(
        telemetry,
        "formline_postgres_transactions_total",
        "Transactions with rows or offsets by what became of them.",
    );
    let mut works = Vec::with_capacity(sinks.len());
    for (common, settings) in sinks {
        if !is_postgres_schema(&settings.schema) {
            return Err(Error::Schema(settings.schema));
        }
        let worker = Worker {
            target: Target::new(&options, &settings.schema, &common.sink.group()),
            metrics: Metrics {
                common: common.parking.metrics.clone(),
                transactions: transactions.clone(),
            },
            batch_rows: settings.batch_rows,
            common: common.clone(),
        };
        let work: Work = Box::pin(worker.run());
        works.push((common, work));
    }
    Ok(works)
}
