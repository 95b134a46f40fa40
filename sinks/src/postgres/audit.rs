//! Reads the rows of a postgres sink as any client with read access would.

use std::time::Duration;

use formline_core::{
    Secret,
    app::{Postgres, is_postgres_schema},
};
use futures::TryStreamExt as _;
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use tokio::time::timeout;

use super::failure::PostgresFailure;
use crate::{
    engine::outcome::{AuditQuery, OutcomeState, OutcomeVisitor, SinkOutcome},
    error::Error,
};

/// Limit of time for the connection, and for each part of the answer. sqlx itself has no time
/// limit.
const TIMEOUT: Duration = Duration::from_secs(30);

const TABLE_EXISTS: &str = "SELECT to_regclass('responses') IS NOT NULL";

/// Uses the index on both columns. Rows that other sinks of the schema have stored are returned
/// too; their ids are not those of records of this sink.
const RESPONSES: &str = "
SELECT id FROM responses
WHERE source = ANY($1) AND accepted_at >= 'epoch'::timestamptz + $2 * interval '1 microsecond'";

/// Passes every row of the forms to `visit`, in no order. Without a table there are none: the sink
/// creates it when it first runs.
///
/// # Errors
/// If the address or the schema is invalid, or PostgreSQL does not answer.
pub(crate) async fn audit(
    url: &Secret,
    settings: &Postgres,
    query: AuditQuery<'_>,
    visit: OutcomeVisitor<'_>,
) -> Result<(), Error> {
    let options: PgConnectOptions = url.expose().parse().map_err(Error::PostgresUrl)?;
    if !is_postgres_schema(&settings.schema) {
        return Err(Error::Schema(settings.schema.clone()));
    }
    let options = options
        .application_name("formline.verify")
        .options([("search_path", settings.schema.as_str())])
        .disable_statement_logging();
    let read = read(&options, query, visit).await;
    read.map_err(|failure| Error::Unread {
        sink: query.sink.group(),
        why: failure.to_string(),
    })
}

async fn read(
    options: &PgConnectOptions,
    query: AuditQuery<'_>,
    visit: OutcomeVisitor<'_>,
) -> Result<(), PostgresFailure> {
    let late = |_| PostgresFailure::timed_out();
    let mut connection = timeout(TIMEOUT, options.connect()).await.map_err(late)??;
    let exists = sqlx::query_scalar(TABLE_EXISTS).fetch_one(&mut connection);
    if !timeout(TIMEOUT, exists).await.map_err(late)?? {
        return Ok(());
    }
    let mut rows = sqlx::query_scalar::<_, String>(RESPONSES)
        .bind(query.sources)
        .bind(query.since.as_microsecond())
        .fetch(&mut connection);
    while let Some(id) = timeout(TIMEOUT, rows.try_next()).await.map_err(late)?? {
        // Formline did not make the id of a record of another producer.
        if let Ok(id) = id.parse() {
            visit(SinkOutcome {
                id,
                state: OutcomeState::Done,
                is_late: false,
                location: None,
            });
        }
    }
    Ok(())
}
