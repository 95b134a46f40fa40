//! The PostgreSQL sink reading what lies ready, beside a bare loop that stores the same content with COPY.

use std::{collections::HashMap, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use formline_core::{
    EventId,
    topic::{self, Topic},
};
use sqlx::PgConnection;

use super::{
    follow::follow,
    ready,
    report::{PostgresReport, Turn},
    setting::{SCHEMA, Setting, now_ms},
};
use crate::{arguments, bare::store_loop, child::Child, cpu, postgres::Postgres, progress};

/// The part, once everything is there.
struct Part<'a> {
    setting: &'a Setting,
    postgres: &'a Postgres,
    connection: PgConnection,
    app: PathBuf,
    /// A new one for each run, since a new database reads a topic from its beginning.
    input: String,
}

const PARTITIONS: i32 = 6;
const APP: &str = "loadtest-postgres";
const SINK: &str = "archive";

/// The sink's default.
const BATCH: usize = 1_000;
/// Rows of the round before the first, which only warms Kafka and PostgreSQL up.
const WARM_UP_ROWS: u32 = 50_000;

/// How rows are counted and taken away again, by side.
const FORMLINE: [&str; 2] = [
    "SELECT id FROM loadtest.responses",
    "TRUNCATE loadtest.responses",
];
const BARE: [&str; 2] = ["SELECT id FROM bare", "TRUNCATE bare"];

/// Measures both sides in turn, on the same records.
pub(super) async fn measure(
    setting: &Setting,
    options: arguments::Postgres,
    rounds: u32,
) -> Result<PostgresReport> {
    let mut part = Part::prepare(setting).await?;
    let mut rows = Vec::new();
    for round in 0..=rounds {
        let count = if round == 0 {
            options.rows.min(WARM_UP_ROWS)
        } else {
            options.rows
        };
        progress::say(&format!(
            "postgres, round {round} of {rounds}: writing {count} records"
        ));
        let written = ready::fill(setting, &part.input, round, count).await?;
        // The order changes, so that what one side leaves behind does not always fall to the other.
        for is_formline in [round % 2 == 1, round % 2 == 0] {
            rows.push(part.turn(round, is_formline, &written).await?);
        }
    }
    rows.drain(..2);
    Ok(PostgresReport {
        server: part.postgres.description.clone(),
        events: options.rows,
        batch: BATCH,
        rows,
    })
}

/// What `app.toml` says of the sink, and of the form whose submissions it stores.
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

// === impl Part ===

impl<'a> Part<'a> {
    async fn prepare(setting: &'a Setting) -> Result<Self> {
        let postgres = setting.postgres.as_ref();
        let postgres = postgres.context("the part needs a PostgreSQL")?;
        let input = format!("formline-loadtest.rows-{}", now_ms());
        let topic = Topic {
            name: input.clone(),
            partitions: PARTITIONS,
            config: [].into(),
        };
        topic::apply(&setting.client, &[topic]).await?;
        let mut connection = postgres.connect().await?;
        sqlx::query(store_loop::TABLE)
            .execute(&mut connection)
            .await?;
        Ok(Self {
            setting,
            postgres,
            connection,
            app: setting.app(APP, &app(&input))?,
            input,
        })
    }

    async fn turn(&mut self, round: u32, is_formline: bool, written: &[EventId]) -> Result<Turn> {
        let side = if is_formline { "formline" } else { "bare" };
        progress::say(&format!("postgres, round {round}: {side}"));
        // What the other side has left to be written is not for this one to wait for.
        self.execute("CHECKPOINT").await?;
        let (mut process, group) = self.start(is_formline)?;
        let (setting, postgres) = (self.setting, self.postgres);
        let used = |process: &Child| {
            let mut used = cpu::so_far(&setting.watched([process]))?;
            used.insert("postgres", cpu::with_children(postgres.id())?);
            Ok(used)
        };
        let busy = follow(setting, &mut process, &group, &self.input, used).await?;
        process.stop().await?;
        let [select, truncate] = if is_formline { FORMLINE } else { BARE };
        let counts = self.count(select).await?;
        self.execute(truncate).await?;
        busy.turn(round, side, written, &counts)
    }

    /// The process of a side, and the group that it commits for.
    fn start(&self, is_formline: bool) -> Result<(Child, String)> {
        let url = self.postgres.url.expose();
        let configure = |command: &mut Command| {
            command.env("FORMLINE_POSTGRES_URL", url);
        };
        if is_formline {
            let sink = self.setting.sink(&self.app, configure)?;
            Ok((sink, topic::group(APP, SINK)))
        } else {
            let store = self.setting.bare_store(&self.input, BATCH, configure)?;
            Ok((store, store_loop::group(&self.input)))
        }
    }

    /// How often each submission is stored.
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
