//! One connection to PostgreSQL: the schema, the offsets, and the transaction that moves both rows and offsets.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use formline_core::{duplicates, event::header, record::Partition};
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, SqlSafeStr as _,
    migrate::{Migration, MigrationType, Migrator},
    postgres::PgConnectOptions,
};
use tokio::time::timeout;

use super::{failure::Failure, row::Row};

/// Where one sink writes to, and under which name it keeps its offsets. Cheap enough to clone for each connection.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    options: PgConnectOptions,
    schema: String,
    group: String,
}

/// A connection to a schema that is migrated. After a failure it is of no more use, but for one of a row.
#[derive(Debug)]
pub(crate) struct Database {
    connection: PgConnection,
    group: String,
}

/// Where a partition is read next, by partition.
pub(crate) type Positions = BTreeMap<Partition, i64>;

/// An offset that is to move in a transaction.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) partition: Partition,
    pub(crate) expected: i64,
    pub(crate) next: i64,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Of a migration, which may have to build an index.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Of a whole transaction, and of each step of a trial.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

/// What the server itself gives up on, so that a sink whose connection is dead holds no lock for long. It is less than the
/// time after which the sink gives up. `force_custom_plan`: a plan from when the table was empty would read all of it for
/// each batch until the next ANALYZE.
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

/// One statement for any number of rows. A response is not new if it is there already, or if a submission of the same id
/// was accepted less than a day apart: the repetition of one with an `Idempotency-Key` (`core::duplicates`).
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
    pub(crate) async fn connect(&self) -> Result<Database, Failure> {
        let mut connection = within(CONNECT_TIMEOUT, self.options.connect()).await?;
        within(MIGRATE_TIMEOUT, self.migrate(&mut connection)).await?;
        let limit = connection.execute("SET statement_timeout = '20s'");
        within(CONNECT_TIMEOUT, limit).await?;
        Ok(Database {
            connection,
            group: self.group.clone(),
        })
    }

    /// Processes that start at once take turns by an advisory lock.
    async fn migrate(&self, connection: &mut PgConnection) -> Result<(), Failure> {
        let all = MIGRATIONS.iter().map(|(version, title, sql)| {
            let (title, sql) = ((*title).into(), sql.into_sql_str());
            Migration::new(*version, title, MigrationType::Simple, sql, false)
        });
        let mut migrator = Migrator::with_migrations(all.collect());
        let there = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL");
        let is_there: bool = there.bind(&self.schema).fetch_one(&mut *connection).await?;
        // Even with IF NOT EXISTS it asks for the right to create one.
        if !is_there {
            migrator.create_schema(self.schema.clone());
        }
        // What `run` calls. An async block that is sent between threads cannot prove the bounds of `run` itself.
        Ok(migrator.run_direct(None, connection, false).await?)
    }
}

// === impl Database ===

impl Database {
    /// Where to read these partitions: from their beginning, if they are new to the database.
    pub(crate) async fn positions(&mut self, of: &[Partition]) -> Result<Positions, Failure> {
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
            Ok::<_, Failure>(all.await?)
        };
        let all = within(TRANSACTION_TIMEOUT, read).await?;
        let ours = all.into_iter().filter_map(|(topic, number, next)| {
            let is_it = |asked: &&Partition| *asked.topic == *topic && asked.number == number;
            Some((of.iter().find(is_it)?.clone(), next))
        });
        Ok(ours.collect())
    }

    /// Stores rows and moves offsets, both or neither. Returns how many of the rows are new.
    pub(crate) async fn store(&mut self, rows: &[Row], moves: &[Move]) -> Result<u64, Failure> {
        let store = async {
            let mut transaction = self.connection.begin().await?;
            // First of all: a second owner waits here for the first, and then finds that the offset has moved.
            let moved = move_offsets(&mut transaction, &self.group, moves).await?;
            if moved != moves.len() as u64 {
                return Err(Failure::Fenced);
            }
            let new = insert(&mut transaction, rows).await?;
            transaction.commit().await?;
            Ok(new)
        };
        within(TRANSACTION_TIMEOUT, store).await
    }

    /// The rows that PostgreSQL does not take, each with the reason. Stores nothing.
    pub(crate) async fn find_bad(&mut self, rows: &[Row]) -> Result<Vec<(usize, String)>, Failure> {
        let mut bad = Vec::new();
        let mut trial = within(TRANSACTION_TIMEOUT, self.connection.begin()).await?;
        let mut ranges: Vec<Range<usize>> = std::iter::once(0..rows.len()).collect();
        while let Some(range) = ranges.pop() {
            // Each part has its own time: many bad rows may need more than a transaction.
            let tried = try_insert(&mut trial, &rows[range.clone()]);
            if let Some(why) = within(TRANSACTION_TIMEOUT, tried).await? {
                let middle = range.start.midpoint(range.end);
                if middle == range.start {
                    bad.push((middle, why));
                } else {
                    // The last one is tried first: thus the bad ones come in order.
                    ranges.push(middle..range.end);
                    ranges.push(range.start..middle);
                }
            }
        }
        within(TRANSACTION_TIMEOUT, trial.rollback()).await?;
        Ok(bad)
    }

    /// Says goodbye to the server.
    pub(crate) async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, sink = self.group, "the connection was gone already");
        }
    }
}

/// sqlx waits for ever for a server that says nothing, so whatever is asked of one goes through here.
async fn within<T, E>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    match timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::timed_out()),
    }
}

/// Why these rows cannot all be inserted, if so; then none of them is.
async fn try_insert(trial: &mut PgConnection, rows: &[Row]) -> Result<Option<String>, Failure> {
    let mut part = trial.begin().await?;
    match insert(&mut part, rows).await {
        Ok(_) => part.commit().await.map(|()| None).map_err(Failure::from),
        Err(Failure::Row(why)) => {
            part.rollback().await?;
            Ok(Some(why))
        }
        Err(failure) => Err(failure),
    }
}

async fn move_offsets(
    connection: &mut PgConnection,
    group: &str,
    moves: &[Move],
) -> Result<u64, Failure> {
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

/// How many of the rows are new.
async fn insert(connection: &mut PgConnection, rows: &[Row]) -> Result<u64, Failure> {
    if rows.is_empty() {
        return Ok(0);
    }
    let texts = |read: fn(&Row) -> &str| rows.iter().map(read).collect::<Vec<&str>>();
    let optional = |read: fn(&Row) -> Option<&str>| rows.iter().map(read).collect::<Vec<_>>();
    let numbers = |read: fn(&Row) -> i64| rows.iter().map(read).collect::<Vec<i64>>();
    let partitions = rows.iter().map(|row| row.record.partition.number);
    let inserted = sqlx::query(INSERT)
        .bind(texts(|row| &row.id))
        .bind(texts(Row::source))
        .bind(texts(Row::submission_id))
        .bind(optional(|row| row.text(header::TYPE)))
        .bind(optional(|row| row.text(header::SUBJECT)))
        .bind(numbers(|row| row.accepted))
        .bind(optional(Row::value))
        .bind(optional(|row| row.text(header::PLUGIN)))
        .bind(texts(|row| &row.record.partition.topic))
        .bind(partitions.collect::<Vec<i32>>())
        .bind(numbers(|row| row.record.offset))
        .bind(duplicates::window_ms())
        .execute(connection)
        .await?;
    Ok(inserted.rows_affected())
}
