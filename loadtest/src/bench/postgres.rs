//! The PostgreSQL sink with a full topic, compared with a bare loop that stores the same content
//! with COPY.

use std::{collections::HashMap, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use formline_core::{
    EventId,
    kafka::topic::{self, Topic},
};
use sqlx::PgConnection;

use super::{
    environment::{Environment, SCHEMA, now_ms},
    follow::follow,
    prefill,
    report::{Measurement, PostgresReport},
};
use crate::{
    arguments::PostgresArgs, bare::store_loop, child::Child, cpu, postgres::Postgres, progress,
};

/// The prepared part.
struct PostgresBench<'a> {
    environment: &'a Environment,
    postgres: &'a Postgres,
    connection: PgConnection,
    app: PathBuf,
    /// The topic, which is new for each run, because a new database reads a topic from its
    /// beginning.
    input: String,
}

const PARTITIONS: i32 = 6;
const APP: &str = "loadtest-postgres";
const SINK: &str = "archive";

/// The default of the sink.
const BATCH: usize = 1_000;
/// Number of rows of the first round, which only warms up Kafka and PostgreSQL.
const WARM_UP_ROWS: u32 = 50_000;

/// The statements that count and remove the rows of Formline.
const FORMLINE: [&str; 2] = [
    "SELECT id FROM loadtest.responses",
    "TRUNCATE loadtest.responses",
];
/// The statements that count and remove the rows of the bare loop.
const BARE: [&str; 2] = ["SELECT id FROM bare", "TRUNCATE bare"];

/// Measures both sides in turn with the same records.
pub(super) async fn measure(
    environment: &Environment,
    options: PostgresArgs,
    rounds: u32,
) -> Result<PostgresReport> {
    let mut bench = PostgresBench::prepare(environment).await?;
    let mut rows = Vec::new();
    for round in 0..=rounds {
        let count = if round == 0 {
            options.rows.min(WARM_UP_ROWS)
        } else {
            options.rows
        };
        progress::print(&format!(
            "postgres, round {round} of {rounds}: writing {count} records"
        ));
        let written = prefill::fill(environment, &bench.input, round, count).await?;
        // The order alternates, so that after-effects of one side do not always affect the other.
        for is_formline in [round % 2 == 1, round % 2 == 0] {
            rows.push(bench.measure_side(round, is_formline, &written).await?);
        }
    }
    rows.drain(..2);
    Ok(PostgresReport {
        server: bench.postgres.description.clone(),
        events: options.rows,
        batch: BATCH,
        rows,
    })
}

/// The app with the sink and the form whose submissions it stores.
fn app(input: &str) -> String {
    format!(
        r#"
        [app]
        name = "{APP}"

        [[topic]]
        name = "{input}"
        partitions = {PARTITIONS}

        [[form]]
        name = "student-data"
        path = "/student-data-form"
        topic = "{input}"
        key = "roll"
        schema = "{SCHEMA}"

        [[sink]]
        name = "{SINK}"
        kind = "postgres"
        input = ["{input}"]
        schema = "loadtest"
        batch_rows = {BATCH}
        "#
    )
}

// === impl PostgresBench ===

impl<'a> PostgresBench<'a> {
    async fn prepare(environment: &'a Environment) -> Result<Self> {
        let postgres = environment.postgres.as_ref();
        let postgres = postgres.context("the part needs PostgreSQL")?;
        let input = format!("formline-loadtest.rows-{}", now_ms());
        let topic = Topic {
            name: input.clone(),
            partitions: PARTITIONS,
            config: [].into(),
        };
        topic::apply(&environment.client, &[topic]).await?;
        let mut connection = postgres.connect().await?;
        sqlx::query(store_loop::TABLE)
            .execute(&mut connection)
            .await?;
        Ok(Self {
            environment,
            postgres,
            connection,
            app: environment.app(APP, &app(&input))?,
            input,
        })
    }

    async fn measure_side(
        &mut self,
        round: u32,
        is_formline: bool,
        written: &[EventId],
    ) -> Result<Measurement> {
        let side = if is_formline { "formline" } else { "bare" };
        progress::print(&format!("postgres, round {round}: {side}"));
        // This side must not wait for writes that the other side has left.
        self.execute("CHECKPOINT").await?;
        let (mut process, group) = self.start(is_formline)?;
        let (environment, postgres) = (self.environment, self.postgres);
        let used = |process: &Child| {
            let mut used = cpu::so_far(&environment.watched([process]))?;
            used.insert("postgres", cpu::with_children(postgres.id())?);
            Ok(used)
        };
        let busy = follow(environment, &mut process, &group, &self.input, used).await?;
        process.stop().await?;
        let [select, truncate] = if is_formline { FORMLINE } else { BARE };
        let counts = self.count(select).await?;
        self.execute(truncate).await?;
        busy.measurement(round, side, written, &counts)
    }

    /// Starts the process of a side, and returns its consumer group.
    fn start(&self, is_formline: bool) -> Result<(Child, String)> {
        let url = self.postgres.url.expose();
        let configure = |command: &mut Command| {
            command.env("FORMLINE_POSTGRES_URL", url);
        };
        if is_formline {
            let sink = self.environment.sink(&self.app, configure)?;
            Ok((sink, topic::group(APP, SINK)))
        } else {
            let store = self.environment.bare_store(&self.input, BATCH, configure)?;
            Ok((store, store_loop::group(&self.input)))
        }
    }

    /// Counts how often each submission is stored.
    async fn count(&mut self, select: &'static str) -> Result<HashMap<EventId, u32>> {
        let ids: Vec<String> = sqlx::query_scalar(select)
            .fetch_all(&mut self.connection)
            .await?;
        let mut counts = HashMap::with_capacity(ids.len());
        for id in ids {
            *counts.entry(id.parse()?).or_default() += 1;
        }
        Ok(counts)
    }

    async fn execute(&mut self, sql: &'static str) -> Result<()> {
        sqlx::query(sql).execute(&mut self.connection).await?;
        Ok(())
    }
}
