//! The test fixture: a topic of submissions, a sink and a database.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use formline_core::{
    App, Client, EventId, Producer, Secret, Telemetry,
    app::{self, Location, Sink, SinkKind},
    dead_letter::letter::{DeadLetter, DeadLetterOwner},
    event::{Submission, header},
    kafka::{
        producer::ProducerOptions,
        record::{Headers, OutgoingRecord},
        topic::{self, Topic},
    },
};
use formline_sinks::Options;
use formline_testing::{Postgres, eventually, kafka, unique};
use jiff::Timestamp;
use sqlx::{Connection as _, PgConnection};

use crate::dead_letters;
pub(crate) use crate::running::{DEADLINE, Running};

pub(crate) const FORM: &str = "student-data";

/// A topic of submissions with two partitions, a database, and the settings of the sink between
/// them.
pub(crate) struct Pipeline {
    pub(crate) client: Client,
    pub(crate) app: String,
    pub(crate) topic: String,
    pub(crate) settings: app::Postgres,
    pub(crate) producer: Producer,
    /// The address of the database that the sink uses.
    pub(crate) url: String,
    /// The address of the database itself.
    pub(crate) database: String,
}

/// Id, source and value of a row.
pub(crate) type Stored = (String, String, Option<String>);

impl Pipeline {
    pub(crate) async fn new() -> Self {
        Self::on(Postgres::shared().await).await
    }

    pub(crate) async fn on(postgres: &Postgres) -> Self {
        let client = Client::new(kafka().await.bootstrap(), BTreeMap::new());
        let app = unique("app");
        let submissions = app.clone();
        let topic = |name: &str, partitions| Topic {
            name: name.to_owned(),
            partitions,
            config: BTreeMap::new(),
        };
        let dead_letters = topic::dead_letter(&app, "archive");
        let topics = [topic(&submissions, 2), topic(&dead_letters, 1)];
        topic::apply(&client, &topics).await.unwrap();
        let options = ProducerOptions {
            delivery_timeout: Duration::from_secs(30),
            queue_messages: 10_000,
            queue_kib: 65_536,
        };
        let database = postgres.database();
        Self {
            producer: Producer::open(&client, options).unwrap(),
            client,
            app,
            topic: submissions,
            settings: app::Postgres {
                schema: "formline".to_owned(),
                batch_rows: 50,
            },
            url: database.clone(),
            database,
        }
    }

    pub(crate) fn sink(&self) -> (Arc<App>, Arc<Sink>) {
        let location = Location {
            file: Arc::new(PathBuf::from("app.toml")),
            line: 1,
        };
        let sink = Arc::new(Sink {
            app: self.app.clone(),
            name: "archive".to_owned(),
            input: vec![self.topic.clone()],
            kind: SinkKind::Postgres(self.settings.clone()),
            location,
        });
        let app = App {
            name: self.app.clone(),
            folder: PathBuf::new(),
            topics: Vec::new(),
            forms: Vec::new(),
            steps: Vec::new(),
            sinks: vec![Arc::clone(&sink)],
        };
        (Arc::new(app), sink)
    }

    pub(crate) fn options(&self, instance: &str) -> Options {
        Options {
            client: self.client.clone(),
            instance: instance.to_owned(),
            google: None,
            google_calls_per_minute: 60,
            postgres_url: Some(Secret::new(&self.url)),
            smtp: None,
            webhook_private_addresses: Vec::new(),
            redis: None,
            telemetry: Telemetry::new(),
        }
    }

    pub(crate) fn start(&self) -> Running {
        self.start_as("one")
    }

    pub(crate) fn start_as(&self, instance: &str) -> Running {
        Running::start(self.options(instance), vec![self.sink()])
    }

    /// Accepts a submission, as ingest would.
    pub(crate) async fn submit(&self, value: &str) -> String {
        let id = EventId::new();
        self.put(headers(id, Timestamp::now()), Some(value.as_bytes()))
            .await;
        id.to_string()
    }

    pub(crate) async fn submit_many(&self, count: usize) -> Vec<String> {
        let submitted = (0..count).map(|n| async move {
            let value = format!(r#"{{"roll":"{n}","age":{n}}}"#);
            self.submit(&value).await
        });
        futures::future::join_all(submitted).await
    }

    /// Writes a record into the topic.
    pub(crate) async fn put(&self, headers: Headers, value: Option<&[u8]>) {
        let id = headers.get(header::ID).map(<[u8]>::to_vec);
        let record = OutgoingRecord {
            topic: &self.topic,
            partition: None,
            // Both partitions are used.
            key: id.as_deref(),
            value,
            headers,
            timestamp_ms: None,
        };
        self.producer.send(record).await.unwrap();
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.database).await.unwrap()
    }

    /// Executes statements in the database without the sink.
    pub(crate) async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql)
            .execute(&mut self.connect().await)
            .await
            .unwrap();
    }

    /// The rows in the order in which they were stored; none if the table does not exist.
    pub(crate) async fn stored(&self) -> Vec<Stored> {
        let rows = "SELECT id, source, value::text FROM formline.responses ORDER BY stored_at, id";
        let mut connection = self.connect().await;
        let rows = sqlx::query_as(rows).fetch_all(&mut connection).await;
        rows.unwrap_or_default()
    }

    pub(crate) async fn ids(&self) -> Vec<String> {
        self.stored().await.into_iter().map(|row| row.0).collect()
    }

    /// Waits until these submissions are stored, and nothing else is.
    pub(crate) async fn expect(&self, ids: &[String]) {
        let mut expected = ids.to_vec();
        expected.sort();
        eventually(DEADLINE, async || {
            let mut found = self.ids().await;
            found.sort();
            if found == expected {
                Ok(())
            } else {
                Err(format!("{} rows of {}", found.len(), expected.len()))
            }
        })
        .await;
    }

    /// The sum of the offsets in the database: everything before them is done.
    pub(crate) async fn stored_offsets(&self) -> i64 {
        let sum = "SELECT COALESCE(SUM(next), 0)::bigint FROM formline.sink_offsets";
        let mut connection = self.connect().await;
        let sum = sqlx::query_scalar(sum).fetch_one(&mut connection).await;
        sum.unwrap_or(0)
    }

    /// Waits until the sum of the offsets in the database is the number of these records.
    pub(crate) async fn expect_offsets(&self, records: i64) {
        eventually(DEADLINE, async || {
            let found = self.stored_offsets().await;
            (found == records).then_some(()).ok_or(found)
        })
        .await;
    }

    fn dead_letter_owner(&self) -> DeadLetterOwner {
        DeadLetterOwner {
            app: self.app.clone(),
            step: "archive".to_owned(),
            topics: vec![self.topic.clone()],
        }
    }

    /// The open dead letters.
    pub(crate) async fn dead_letters(&self) -> Vec<DeadLetter> {
        dead_letters::open(&self.client, &self.dead_letter_owner()).await
    }

    /// Replays every open dead letter.
    pub(crate) async fn replay(&self) {
        dead_letters::replay(&self.client, self.dead_letter_owner()).await;
    }
}

/// The headers of a submission.
pub(crate) fn headers(id: EventId, time: Timestamp) -> Headers {
    submission(id, time, None).headers()
}

pub(crate) fn submission(id: EventId, time: Timestamp, subject: Option<&str>) -> Submission<'_> {
    Submission {
        id,
        time,
        form: FORM,
        subject,
        schema: "/v1/forms/student-data/schema",
        trace_parent: None,
        fingerprint: None,
    }
}
