//! The test fixture: a topic of rows, a sink and an emulated spreadsheet.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use formline_core::{
    App, Client, Consumer, EventId, Producer, Shutdown, Telemetry,
    app::{Buffer, Location, Sheets, Sink, SinkKind},
    event::{self, header},
    kafka::{
        consumer::ConsumerOptions,
        group_progress::{GroupProgress, Stage},
        producer::ProducerOptions,
        reader::{Reader, StartOffset},
        record::{Headers, OutgoingRecord},
        topic::{self, Topic},
    },
    settings,
};
use formline_sheets_emulator::Quota;
use formline_sinks::{
    EmulatorTiming, Flushed, Google, Options,
    audit::{self, AuditQuery, AuditSources, SinkOutcome},
};
use formline_testing::{Kafka, eventually, kafka, unique};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::emulated_google::EmulatedGoogle;
pub(crate) use crate::running::{DEADLINE, Running};

/// How long the sink of an impatient pipeline waits for a response.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The name of the sink's process in its consumer group.
const MEMBER: &str = "one";

pub(crate) const TAB: &str = "Responses";

/// A topic of rows with two partitions, a spreadsheet, and the settings of the sink between them.
pub(crate) struct Pipeline {
    pub(crate) client: Client,
    pub(crate) app: String,
    pub(crate) rows: String,
    pub(crate) settings: Sheets,
    pub(crate) producer: Producer,
    pub(crate) google: Google,
    pub(crate) google_server: EmulatedGoogle,
    /// The quota of the sink. The emulator grants every call unless it enforces a quota itself.
    calls_per_minute: u32,
    redis: Option<settings::Redis>,
}

impl Pipeline {
    pub(crate) async fn new() -> Self {
        Self::on(kafka().await, "1048576").await
    }

    /// A pipeline whose sheet has one row and whose sink has stopped, and the id of the row.
    pub(crate) async fn with_a_row() -> (Self, Vec<String>) {
        let pipeline = Self::new().await;
        let running = pipeline.start();
        let ids = vec![pipeline.submit(now(), any_cells()).await];
        pipeline.expect(&ids).await;
        running.stop().await;
        (pipeline, ids)
    }

    /// A pipeline whose emulator enforces Google's quota of calls, which the sink keeps to.
    pub(crate) async fn with_quota(quota: Quota) -> Self {
        let mut pipeline = Self::new().await;
        pipeline.calls_per_minute = 60;
        pipeline.google_server = EmulatedGoogle::new(Some(quota)).await;
        pipeline.google = emulator(&pipeline.google_server);
        pipeline
    }

    /// A pipeline whose sink gives up on a call after [`CALL_TIMEOUT`].
    pub(crate) async fn impatient() -> Self {
        Self::with_timing(EmulatorTiming {
            call_timeout: CALL_TIMEOUT,
            ..EmulatorTiming::default()
        })
        .await
    }

    pub(crate) async fn with_timing(timing: EmulatorTiming) -> Self {
        let mut pipeline = Self::new().await;
        pipeline.google = Google::Emulator {
            base_url: pipeline.google_server.base.clone(),
            timing,
        };
        pipeline
    }

    /// A pipeline whose dead-letter topic accepts messages up to this size.
    pub(crate) async fn on(kafka: &Kafka, dead_letter_bytes: &str) -> Self {
        Self::of(kafka, unique("app"), dead_letter_bytes).await
    }

    /// The pipeline of an app with this name.
    pub(crate) async fn of(kafka: &Kafka, app: String, dead_letter_bytes: &str) -> Self {
        let client = Client::new(kafka.bootstrap(), BTreeMap::new());
        let rows = format!("{app}.rows");
        let topic = |name: &str, partitions, bytes: &str| Topic {
            name: name.to_owned(),
            partitions,
            config: [("max.message.bytes".to_owned(), bytes.to_owned())].into(),
        };
        let dead_letters = topic::dead_letter(&app, "sheet");
        let topics = [
            topic(&rows, 2, "1048576"),
            topic(&dead_letters, 1, dead_letter_bytes),
        ];
        topic::apply(&client, &topics).await.unwrap();
        let google_server = EmulatedGoogle::new(None).await;
        Self {
            producer: producer(&client),
            client,
            app,
            rows,
            settings: Sheets {
                spreadsheet: unique("sheet"),
                further: Vec::new(),
                tab: TAB.to_owned(),
                grace: Duration::from_millis(200),
                hold_back: Duration::from_secs(60),
                flush_interval: Duration::from_millis(100),
                batch_rows: 50,
                buffer: Buffer::Memory,
            },
            google: emulator(&google_server),
            google_server,
            // More than any test needs, so that only tests of `with_quota` are throttled.
            calls_per_minute: 6_000,
            redis: None,
        }
    }

    pub(crate) fn definition(&self) -> App {
        let location = Location {
            file: Arc::new(PathBuf::from("app.toml")),
            line: 1,
        };
        let sink = Sink {
            app: self.app.clone(),
            name: "sheet".to_owned(),
            input: vec![self.rows.clone()],
            kind: SinkKind::Sheets(self.settings.clone()),
            location,
        };
        App {
            name: self.app.clone(),
            folder: PathBuf::new(),
            topics: Vec::new(),
            forms: Vec::new(),
            steps: Vec::new(),
            sinks: vec![Arc::new(sink)],
        }
    }

    /// From the next start on, rows wait in this Redis, flushed by the sink itself or by
    /// [`Self::flush`].
    pub(crate) fn buffer_in_redis(&mut self, redis: settings::Redis, flushes: bool) {
        self.redis = Some(redis);
        let rows = 1_000;
        self.settings.buffer = Buffer::Redis { flushes, rows };
    }

    /// The installation has no Redis.
    pub(crate) fn remove_redis(&mut self) {
        self.redis = None;
    }

    /// Flushes as a scheduled job does. Returns the number of rows that it has written.
    pub(crate) async fn flush(&self) -> Result<usize, formline_sinks::Error> {
        let mut flushed = self.flush_all(self.definition()).await?;
        let Flushed { rows, trouble } = flushed.remove(0);
        trouble.map_or(Ok(rows), Err)
    }

    /// The same for all sinks of an app.
    pub(crate) async fn flush_all(&self, app: App) -> Result<Vec<Flushed>, formline_sinks::Error> {
        let app = Arc::new(app);
        let sinks = app.sinks.iter();
        let sinks = sinks.map(|sink| (Arc::clone(&app), Arc::clone(sink)));
        let (options, sinks) = (self.options("job", Telemetry::new()), sinks.collect());
        formline_sinks::flush(options, sinks, Shutdown::new(), DEADLINE).await
    }

    /// The rows as `formline verify` sees them, in their order: spreadsheet and id.
    pub(crate) async fn outcomes(&self) -> Vec<(String, String)> {
        let sources = AuditSources {
            client: self.client.clone(),
            google: Some(self.google.clone()),
            postgres_url: None,
        };
        let query = AuditQuery {
            sink: &self.definition().sinks[0],
            sources: &[],
            since: Timestamp::UNIX_EPOCH,
        };
        let mut rows = Vec::new();
        let mut visit = |outcome: SinkOutcome| {
            let location = outcome.location.unwrap();
            rows.push((location.spreadsheet.to_string(), outcome.id.to_string()));
        };
        audit::outcomes(&sources, query, &mut visit).await.unwrap();
        rows
    }

    fn options(&self, instance: &str, telemetry: Telemetry) -> Options {
        Options {
            client: self.client.clone(),
            instance: instance.to_owned(),
            google: Some(self.google.clone()),
            google_calls_per_minute: self.calls_per_minute,
            postgres_url: None,
            smtp: None,
            webhook_private_addresses: Vec::new(),
            redis: self.redis.clone(),
            telemetry,
        }
    }

    pub(crate) fn group(&self) -> String {
        topic::group(&self.app, "sheet")
    }

    pub(crate) fn start(&self) -> Running {
        self.start_as(MEMBER, self.definition())
    }

    pub(crate) fn start_as(&self, instance: &str, app: App) -> Running {
        let app = Arc::new(app);
        let placed = |sink| (Arc::clone(&app), Arc::clone(sink));
        let sinks = app.sinks.iter().map(placed).collect();
        Running::start(self.options(instance, Telemetry::new()), sinks)
    }

    /// Sends a row to the topic, as the step `rows` would.
    pub(crate) async fn submit(&self, time: Timestamp, cells: Value) -> String {
        let row = json!({ "version": 1, "form": "f", "cells": cells });
        self.submit_raw(time, Some(row.to_string().as_bytes()))
            .await
    }

    pub(crate) async fn submit_raw(&self, time: Timestamp, value: Option<&[u8]>) -> String {
        let id = EventId::new().to_string();
        let record = outgoing(&self.rows, &id, time, value);
        self.producer.send(record).await.unwrap();
        id
    }

    /// Waits until the sink's group has committed all records of the topic.
    pub(crate) async fn expect_committed(&self) {
        let stage = Stage {
            group: self.group(),
            topics: vec![self.rows.clone()],
        };
        let progress = Arc::new(GroupProgress::open(&self.client, vec![stage]).unwrap());
        eventually(DEADLINE, async || {
            let progress = Arc::clone(&progress);
            let look = move || progress.has_passed(0, &progress.ends(0).unwrap()).unwrap();
            tokio::task::spawn_blocking(look).await.unwrap()
        })
        .await;
    }

    /// Sets the group to the first record of each partition, as if its offsets were deleted. The
    /// group has no other member.
    pub(crate) async fn reset_offsets(&self) {
        let options = ConsumerOptions {
            group: self.group(),
            // The name of the sink: otherwise each would wait until the other's session times out.
            member: MEMBER.to_owned(),
            topics: vec![self.rows.clone()],
        };
        let mut consumer = Consumer::join(&self.client, &options).unwrap();
        let forget = move || {
            loop {
                consumer.poll(Duration::from_millis(100)).unwrap();
                let assigned = consumer.assigned().unwrap();
                let none: Vec<_> = assigned.into_iter().map(|one| (one, 0)).collect();
                if none.len() == 2 {
                    consumer.commit(&none).unwrap();
                    let committed = consumer.committed().unwrap();
                    if committed.len() == 2 && committed.iter().all(|(_, next)| *next == 0) {
                        return;
                    }
                }
            }
        };
        let forgotten = tokio::task::spawn_blocking(forget);
        let in_time = tokio::time::timeout(DEADLINE, forgotten).await;
        in_time.expect("kafka answers").unwrap();
    }

    /// Reason and value of each dead letter.
    pub(crate) async fn dead_letters(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let (client, topic) = (self.client.clone(), topic::dead_letter(&self.app, "sheet"));
        let read = move || {
            let mut reader = Reader::open(&client, &topic, &[], StartOffset::Beginning).unwrap();
            let mut letters = Vec::new();
            let keep = |record: formline_core::Record| {
                let reason = record
                    .text_header("dead-letter-reason")
                    .unwrap_or_default()
                    .to_owned();
                letters.push((reason, record.value().map(<[u8]>::to_vec)));
            };
            reader.read_to_end(|| true, keep).unwrap();
            letters
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }
}

fn emulator(server: &EmulatedGoogle) -> Google {
    Google::Emulator {
        base_url: server.base.clone(),
        timing: EmulatorTiming::default(),
    }
}

pub(crate) fn producer(client: &Client) -> Producer {
    let options = ProducerOptions {
        delivery_timeout: Duration::from_secs(30),
        queue_messages: 10_000,
        queue_kib: 65_536,
    };
    Producer::open(client, options).unwrap()
}

/// A record of the rows topic. The key is the id, so that both partitions are used.
pub(crate) fn outgoing<'a>(
    topic: &'a str,
    id: &'a str,
    time: Timestamp,
    value: Option<&'a [u8]>,
) -> OutgoingRecord<'a> {
    let headers = Headers::with_capacity(3)
        .with(header::ID, EventId::new().to_string())
        .with(header::ORIGIN, id)
        .with(header::TIME, event::format_time(time));
    OutgoingRecord {
        topic,
        partition: None,
        key: Some(id.as_bytes()),
        value,
        headers,
        timestamp_ms: None,
    }
}

/// One cell of a row.
pub(crate) fn cell(column: &str, value: impl Into<Value>) -> Value {
    json!({ "column": column, "title": column.to_uppercase(), "value": value.into() })
}

/// The cells of a row whose content does not matter.
pub(crate) fn any_cells() -> Value {
    json!([cell("roll", "99999")])
}

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

pub(crate) fn earlier(milliseconds: i64) -> Timestamp {
    now() - milliseconds.milliseconds()
}
