//! One connection to PostgreSQL: the schema, the offsets, and the transaction that stores rows and
//! moves offsets.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use formline_core::{
    event::{dedup, header},
    kafka::record::Partition,
};
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, SqlSafeStr as _,
    migrate::{Migration, MigrationType, Migrator},
    postgres::PgConnectOptions,
};
use tokio::time::timeout;

use super::{failure::PostgresFailure, row::ResponseRow};

/// Where one sink writes to, and the name of its offsets. Cheap enough to clone for each
/// connection.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    options: PgConnectOptions,
    schema: String,
    group: String,
}

/// A connection to a migrated schema. After a failure other than [`PostgresFailure::Row`] it must
/// not be used again.
#[derive(Debug)]
pub(crate) struct Database {
    connection: PgConnection,
    group: String,
}

/// The next offset of each partition.
pub(crate) type Positions = BTreeMap<Partition, i64>;

/// The move of one offset in a transaction.
#[derive(Debug)]
pub(crate) struct OffsetMove {
    pub(crate) partition: Partition,
    pub(crate) expected: i64,
    pub(crate) next: i64,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A migration may have to build an index.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Limit of time for a whole transaction, and for each step of the search for bad rows.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Time limits of the server, so that a sink whose connection is dead holds no lock for long. They
/// are shorter than those of the sink. `force_custom_plan`: a generic plan from when the table was
/// empty would scan all of it for each batch until the next ANALYZE.
const SESSION: [(&str, &str); 4] = [
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "20s"),
    ("tcp_user_timeout", "20s"),
    ("plan_cache_mode", "force_custom_plan"),
];

const MIGRATIONS: &[(i64, &str, &str)] = &[(
    1,
    "responses",
    include_str!("../../migrations/1_responses.sql"),
)];

/// One statement for any number of rows. A response is not new if it is stored already, or if a
/// submission with the same id was accepted less than a day apart: the duplicate of a submission
/// with an `Idempotency-Key`.
const INSERT: &str = "
INSERT INTO responses (id, source, submission_id, type, subject, accepted_at, value, plugin,
    kafka_topic, kafka_partition, kafka_offset)
SELECT * FROM (
    SELECT id, source, submission_id, type, subject,
        'epoch'::timestamptz + accepted * interval '1 microsecond' AS accepted_at,
        value::jsonb, plugin, topic, number, place
    FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[],
        $8::text[], $9::text[], $10::integer[], $11::bigint[])
        AS arrived (id, source, submission_id, type, subject, accepted, value, plugin, topic, number, place)
) AS new
WHERE NOT EXISTS (
    SELECT FROM responses AS held
    WHERE held.id = new.id AND held.source = new.source
    AND held.accepted_at BETWEEN new.accepted_at - $12 * interval '1 millisecond'
        AND new.accepted_at + $12 * interval '1 millisecond'
)
ON CONFLICT (id, source, accepted_at) DO NOTHING";

const BEGIN_OFFSETS: &str = "
INSERT INTO sink_offsets (sink, topic, partition, next)
SELECT $1, topic, partition, 0 FROM UNNEST($2::text[], $3::integer[]) AS asked (topic, partition)
ON CONFLICT DO NOTHING";

const READ_OFFSETS: &str = "SELECT topic, partition, next FROM sink_offsets WHERE sink = $1";

const MOVE_OFFSETS: &str = "
UPDATE sink_offsets AS held SET next = moved.next, updated_at = now()
FROM UNNEST($2::text[], $3::integer[], $4::bigint[], $5::bigint[])
    AS moved (topic, partition, expected, next)
WHERE held.sink = $1 AND held.topic = moved.topic AND held.partition = moved.partition
AND held.next = moved.expected";

// === impl Target ===

impl Target {
    pub(crate) fn new(options: &PgConnectOptions, schema: &str, group: &str) -> Self {
        let options = options
            .clone()
            .application_name(group)
            .options([("search_path", schema)])
            .options(SESSION)
            .disable_statement_logging();
        Self {
            options,
            schema: schema.to_owned(),
            group: group.to_owned(),
        }
    }

    /// Connects and brings the schema up to date.
    pub(crate) async fn connect(&self) -> Result<Database, PostgresFailure> {
        let mut connection = within(CONNECT_TIMEOUT, self.options.connect()).await?;
        within(MIGRATE_TIMEOUT, self.migrate(&mut connection)).await?;
        let limit = connection.execute("SET statement_timeout = '20s'");
        within(CONNECT_TIMEOUT, limit).await?;
        Ok(Database {
            connection,
            group: self.group.clone(),
        })
    }

    /// An advisory lock makes processes that start at the same time take turns.
    async fn migrate(&self, connection: &mut PgConnection) -> Result<(), PostgresFailure> {
        let all = MIGRATIONS.iter().map(|(version, title, sql)| {
            let (title, sql) = ((*title).into(), sql.into_sql_str());
            Migration::new(*version, title, MigrationType::Simple, sql, false)
        });
        let mut migrator = Migrator::with_migrations(all.collect());
        let there = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL");
        let is_there: bool = there.bind(&self.schema).fetch_one(&mut *connection).await?;
        // Even with IF NOT EXISTS, the statement requires the right to create a schema.
        if !is_there {
            migrator.create_schema(self.schema.clone());
        }
        // `run` calls this function; its own bounds cannot be proven for a future that is sent
        // between threads.
        Ok(migrator.run_direct(None, connection, false).await?)
    }
}

// === impl Database ===

impl Database {
    /// The next offsets of these partitions: 0 for one that is new to the database.
    ///
    /// # Errors
    /// If PostgreSQL fails.
    pub(crate) async fn positions(
        &mut self,
        of: &[Partition],
    ) -> Result<Positions, PostgresFailure> {
        let read = async {
            let topics: Vec<&str> = of.iter().map(|partition| &*partition.topic).collect();
            let numbers: Vec<i32> = of.iter().map(|partition| partition.number).collect();
            sqlx::query(BEGIN_OFFSETS)
                .bind(&self.group)
                .bind(topics)
                .bind(numbers)
                .execute(&mut self.connection)
                .await?;
            let all = sqlx::query_as::<_, (String, i32, i64)>(READ_OFFSETS);
            let all = all.bind(&self.group).fetch_all(&mut self.connection);
            Ok::<_, PostgresFailure>(all.await?)
        };
        let all = within(TRANSACTION_TIMEOUT, read).await?;
        let ours = all.into_iter().filter_map(|(topic, number, next)| {
            let is_it = |asked: &&Partition| *asked.topic == *topic && asked.number == number;
            Some((of.iter().find(is_it)?.clone(), next))
        });
        Ok(ours.collect())
    }

    /// Stores rows and moves offsets, both or neither. Returns how many of the rows are new.
    ///
    /// # Errors
    /// If PostgreSQL fails, rejects a row, or an offset is not the expected one.
    pub(crate) async fn store(
        &mut self,
        rows: &[ResponseRow],
        moves: &[OffsetMove],
    ) -> Result<u64, PostgresFailure> {
        let store = async {
            let mut transaction = self.connection.begin().await?;
            // This comes first: a second owner waits here for the first, and then finds that the
            // offset has moved.
            let moved = move_offsets(&mut transaction, &self.group, moves).await?;
            if moved != moves.len() as u64 {
                return Err(PostgresFailure::Fenced);
            }
            let new = insert(&mut transaction, rows).await?;
            transaction.commit().await?;
            Ok(new)
        };
        within(TRANSACTION_TIMEOUT, store).await
    }

    /// Finds the rows that PostgreSQL rejects, each with the cause. Stores nothing.
    ///
    /// # Errors
    /// If PostgreSQL fails.
    pub(crate) async fn find_bad(
        &mut self,
        rows: &[ResponseRow],
    ) -> Result<Vec<(usize, String)>, PostgresFailure> {
        let mut bad = Vec::new();
        let mut trial = within(TRANSACTION_TIMEOUT, self.connection.begin()).await?;
        let mut ranges: Vec<Range<usize>> = std::iter::once(0..rows.len()).collect();
        while let Some(range) = ranges.pop() {
            // Each part has its own time limit, because many bad rows can take longer than one
            // transaction.
            let tried = try_insert(&mut trial, &rows[range.clone()]);
            if let Some(cause) = within(TRANSACTION_TIMEOUT, tried).await? {
                let middle = range.start.midpoint(range.end);
                if middle == range.start {
                    bad.push((middle, cause));
                } else {
                    // The range that is pushed last is tried first, so bad rows are found in order.
                    ranges.push(middle..range.end);
                    ranges.push(range.start..middle);
                }
            }
        }
        within(TRANSACTION_TIMEOUT, trial.rollback()).await?;
        Ok(bad)
    }

    /// Closes the connection.
    pub(crate) async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, sink = self.group, "the connection was already closed");
        }
    }
}

/// Limits the time of a request to the server; sqlx itself has no time limit.
async fn within<T, E>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, PostgresFailure>
where
    PostgresFailure: From<E>,
{
    match timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(PostgresFailure::timed_out()),
    }
}

/// Inserts rows all or none. Returns the cause if PostgreSQL rejects them.
async fn try_insert(
    trial: &mut PgConnection,
    rows: &[ResponseRow],
) -> Result<Option<String>, PostgresFailure> {
    let mut part = trial.begin().await?;
    match insert(&mut part, rows).await {
        Ok(_) => part.commit().await.map(|()| None).map_err(Into::into),
        Err(PostgresFailure::Row(cause)) => {
            part.rollback().await?;
            Ok(Some(cause))
        }
        Err(failure) => Err(failure),
    }
}

async fn move_offsets(
    connection: &mut PgConnection,
    group: &str,
    moves: &[OffsetMove],
) -> Result<u64, PostgresFailure> {
    let topics = moves.iter().map(|one| &*one.partition.topic);
    let numbers = moves.iter().map(|one| one.partition.number);
    let moved = sqlx::query(MOVE_OFFSETS)
        .bind(group)
        .bind(topics.collect::<Vec<&str>>())
        .bind(numbers.collect::<Vec<i32>>())
        .bind(moves.iter().map(|one| one.expected).collect::<Vec<i64>>())
        .bind(moves.iter().map(|one| one.next).collect::<Vec<i64>>())
        .execute(connection)
        .await?;
    Ok(moved.rows_affected())
}

/// Inserts rows and returns how many of them are new.
async fn insert(
    connection: &mut PgConnection,
    rows: &[ResponseRow],
) -> Result<u64, PostgresFailure> {
    if rows.is_empty() {
        return Ok(0);
    }
    let texts = |read: fn(&ResponseRow) -> &str| rows.iter().map(read).collect::<Vec<&str>>();
    let optional =
        |read: fn(&ResponseRow) -> Option<&str>| rows.iter().map(read).collect::<Vec<_>>();
    let numbers = |read: fn(&ResponseRow) -> i64| rows.iter().map(read).collect::<Vec<i64>>();
    let partitions = rows.iter().map(|row| row.record.partition.number);
    let inserted = sqlx::query(INSERT)
        .bind(texts(|row| &row.id))
        .bind(texts(ResponseRow::source))
        .bind(texts(ResponseRow::submission_id))
        .bind(optional(|row| row.text(header::TYPE)))
        .bind(optional(|row| row.text(header::SUBJECT)))
        .bind(numbers(|row| row.accepted))
        .bind(optional(ResponseRow::value))
        .bind(optional(|row| row.text(header::PLUGIN)))
        .bind(texts(|row| &row.record.partition.topic))
        .bind(partitions.collect::<Vec<i32>>())
        .bind(numbers(|row| row.record.offset))
        .bind(dedup::window_ms())
        .execute(connection)
        .await?;
    Ok(inserted.rows_affected())
}
