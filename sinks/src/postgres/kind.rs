//! The functions that the kind `postgres` exports.

use formline_core::{
    Secret, Telemetry,
    app::{Postgres, Sink, is_postgres_schema},
};
use futures::future::BoxFuture;
use sqlx::postgres::PgConnectOptions;

use super::{audit, database::Target, metrics::PostgresMetrics, sink::PostgresDestination};
use crate::{
    engine::{
        context::{SinkContext, Work, title},
        kind::Kind,
        membership,
        metrics::OutcomeCounter,
        options::{AuditSources, Options},
        outcome::{AuditQuery, IdSource, OutcomeVisitor},
    },
    error::Error,
};

/// Registers the metric that only postgres sinks have.
pub(crate) fn register_metrics(telemetry: &Telemetry) -> OutcomeCounter {
    OutcomeCounter::register(
        telemetry,
        "formline_postgres_transactions_total",
        "Transactions with rows or offsets, by outcome.",
    )
}

/// Opens the postgres sinks of a process.
pub(crate) fn open(
    options: &Options,
    sinks: Vec<(SinkContext, Postgres)>,
) -> Result<Vec<(SinkContext, Work)>, Error> {
    let transactions = register_metrics(&options.telemetry);
    let mut works = Vec::with_capacity(sinks.len());
    for (context, settings) in sinks {
        let url = required_url(options.postgres_url.as_ref(), &context.sink)?;
        let address: PgConnectOptions = url.expose().parse().map_err(Error::PostgresUrl)?;
        if !is_postgres_schema(&settings.schema) {
            return Err(Error::Schema(settings.schema));
        }
        let destination = PostgresDestination {
            target: Target::new(&address, &settings.schema, &context.sink.group()),
            metrics: PostgresMetrics {
                common: context.dead_letters.metrics.clone(),
                transactions: transactions.clone(),
            },
            batch_rows: settings.batch_rows,
            context: context.clone(),
        };
        let work = membership::work(&context, destination);
        works.push((context, work));
    }
    Ok(works)
}

fn required_url<'a>(url: Option<&'a Secret>, sink: &Sink) -> Result<&'a Secret, Error> {
    url.ok_or_else(|| Error::NoPostgres(title(sink)))
}

// === impl Postgres ===

impl Kind for Postgres {
    fn id_source(&self) -> IdSource {
        IdSource::Record
    }

    fn require(&self, sink: &Sink, options: &Options) -> Result<(), Error> {
        required_url(options.postgres_url.as_ref(), sink).map(drop)
    }

    fn audit<'a>(
        &'a self,
        sources: &'a AuditSources,
        query: AuditQuery<'a>,
        visit: OutcomeVisitor<'a>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let url = required_url(sources.postgres_url.as_ref(), query.sink)?;
            audit::audit(url, self, query, visit).await
        })
    }
}
