//! The rows of a postgres sink, read as anybody with the right to read the table would.

use std::time::Duration;

use formline_core::{
    app::{Postgres, is_postgres_schema},
    settings::Secret,
};
use futures::TryStreamExt as _;
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use tokio::time::timeout;

use super::failure::Failure;
use crate::{
    Error,
    outcomes::{Outcome, Question, State, Visit},
};

/// For the connection, and for each part of the answer. sqlx waits for ever for a server that says nothing.
const PATIENCE: Duration = Duration::from_secs(30);

const IS_THERE: &str = "SELECT to_regclass('responses') IS NOT NULL";

/// By the index on both. A row that other sinks of the schema have stored comes too: its id is of none of our records.
const RESPONSES: &str = "
SELECT id FROM responses
WHERE source = ANY($1) AND accepted_at >= 'epoch'::timestamptz + $2 * interval '1 microsecond'";

/// Gives every row of the forms to `visit`, in no order. Without a table there are none: the sink makes it when it first
/// runs.
pub(crate) async fn outcomes(
    url: &Secret,
    settings: &Postgres,
    question: Question<'_>,
    visit: Visit<'_>,
) -> Result<(), Error> {
    let options: PgConnectOptions = url.expose().parse().map_err(Error::PostgresUrl)?;
    if !is_postgres_schema(&settings.schema) {
        return Err(Error::Schema(settings.schema.clone()));
    }
    let options = options
        .application_name("formline.verify")
        .options([("search_path", settings.schema.as_str())])
        .disable_statement_logging();
    let read = read(&options, question, visit).await;
    read.map_err(|failure| Error::Unread {
        sink: question.sink.group(),
        why: failure.to_string(),
    })
}

async fn read(
    options: &PgConnectOptions,
    question: Question<'_>,
    visit: Visit<'_>,
) -> Result<(), Failure> {
    let late = |_| Failure::timed_out();
    let mut connection = timeout(PATIENCE, options.connect()).await.map_err(late)??;
    let is_there = sqlx::query_scalar(IS_THERE).fetch_one(&mut connection);
    if !timeout(PATIENCE, is_there).await.map_err(late)?? {
        return Ok(());
    }
    let mut rows = sqlx::query_scalar::<_, String>(RESPONSES)
        .bind(question.sources)
        .bind(question.since.as_microsecond())
        .fetch(&mut connection);
    while let Some(id) = timeout(PATIENCE, rows.try_next()).await.map_err(late)?? {
        // A record of a foreign producer has no id of ours.
        if let Ok(id) = id.parse() {
            visit(Outcome {
                id,
                state: State::Done,
                is_late: false,
                place: None,
            });
        }
    }
    Ok(())
}
