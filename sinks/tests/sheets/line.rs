//! The vocabulary: a line with a topic of rows, a sink and an emulated spreadsheet.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use formline_core::{
    App, Client, Consumer, EventId, Producer, Shutdown, Telemetry,
    app::{Buffer, Location, Sheets, Sink, SinkKind},
    consumer,
    event::{self, header},
    producer,
    progress::{Progress, Stage},
    reader::{From, Reader},
    record::{Headers, Outgoing},
    settings,
    topic::{self, Topic},
};
use formline_sheets_emulator::Quota;
use formline_sinks::{
    Flushed, Options,
    outcomes::{Outcome, Outside, Question},
    sheets::Google,
};
use formline_testing::{Kafka, eventually, kafka, unique};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::{running::Running, spreadsheet::Emulated};

/// Longer than anything that a healthy line on a busy machine needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const TAB: &str = "Responses";

/// A topic of rows with two partitions, a spreadsheet, and what the sink between them is told.
pub(crate) struct Line {
    pub(crate) client: Client,
    pub(crate) app: String,
    pub(crate) rows: String,
    pub(crate) settings: Sheets,
    pub(crate) producer: Producer,
    pub(crate) google: Google,
    pub(crate) emulated: Emulated,
    redis: Option<settings::Redis>,
}

impl Line {
    pub(crate) async fn new() -> Self {
        Self::on(kafka().await, "1048576").await
    }

    /// A line whose sheet has a row, and whose sink has stopped; the id of the row.
    pub(crate) async fn with_a_row() -> (Self, Vec<String>) {
        let line = Self::new().await;
        let running = line.start();
        let ids = vec![line.submit(now(), any()).await];
        line.expect(&ids).await;
        running.stop().await;
        (line, ids)
    }

    /// A line to a Google that counts calls.
    pub(crate) async fn with_quota(quota: Quota) -> Self {
        let mut line = Self::new().await;
        line.emulated = Emulated::new(Some(quota)).await;
        line.google = Google::Emulator {
            base_url: line.emulated.base.clone(),
        };
        line
    }

    /// A line whose dead-letter topic takes messages of so many bytes.
    pub(crate) async fn on(kafka: &Kafka, dead_letter_bytes: &str) -> Self {
        Self::of(kafka, unique("app"), dead_letter_bytes).await
    }

    /// The line of an app with this name.
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
        let emulated = Emulated::new(None).await;
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
            google: Google::Emulator {
                base_url: emulated.base.clone(),
            },
            emulated,
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

    /// Keeps rows in this Redis from the next start on, flushed by the sink itself or by [`Self::flush`].
    pub(crate) fn keep_in_redis(&mut self, redis: settings::Redis, flushes: bool) {
        self.redis = Some(redis);
        let rows = 1_000;
        self.settings.buffer = Buffer::Redis { flushes, rows };
    }

    /// Nobody has said where it is.
    pub(crate) fn forget_redis(&mut self) {
        self.redis = None;
    }

    /// What a scheduled job does. Returns how many rows it has written.
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

    /// The rows as `formline verify` sees them: spreadsheet and id, as they stand.
    pub(crate) async fn outcomes(&self) -> Vec<(String, String)> {
        let outside = Outside {
            client: self.client.clone(),
            google: Some(self.google.clone()),
            postgres_url: None,
        };
        let question = Question {
            sink: &self.definition().sinks[0],
            sources: &[],
            since: Timestamp::UNIX_EPOCH,
        };
        let mut rows = Vec::new();
        let mut visit = |outcome: Outcome| {
            let place = outcome.place.unwrap();
            rows.push((place.spreadsheet.to_string(), outcome.id.to_string()));
        };
        outside.outcomes(question, &mut visit).await.unwrap();
        rows
    }

    fn options(&self, instance: &str, telemetry: Telemetry) -> Options {
        Options {
            client: self.client.clone(),
            instance: instance.to_owned(),
            google: Some(self.google.clone()),
            google_calls_per_minute: 60,
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
        self.start_as("one", self.definition())
    }

    pub(crate) fn start_as(&self, instance: &str, app: App) -> Running {
        let app = Arc::new(app);
        let placed = |sink| (Arc::clone(&app), Arc::clone(sink));
        let sinks = app.sinks.iter().map(placed).collect();
        Running::start(self.options(instance, Telemetry::new()), sinks)
    }

    /// Puts a row on the topic, as the step `rows` would.
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

    /// Waits until the sink's group has committed everything that is on the topic.
    pub(crate) async fn expect_committed(&self) {
        let stage = Stage {
            group: self.group(),
            topics: vec![self.rows.clone()],
        };
        let progress = Arc::new(Progress::open(&self.client, vec![stage]).unwrap());
        eventually(DEADLINE, async || {
            let progress = Arc::clone(&progress);
            let look = move || progress.has_passed(0, &progress.ends(0).unwrap()).unwrap();
            tokio::task::spawn_blocking(look).await.unwrap()
        })
        .await;
    }

    /// Has the group begin at the first record of each partition, as if its offsets were deleted. Nobody else is in it.
    pub(crate) async fn forget_offsets(&self) {
        let options = consumer::Options {
            group: self.group(),
            member: "operator".to_owned(),
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
            let mut reader = Reader::open(&client, &topic, &[], From::Beginning).unwrap();
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

pub(crate) fn producer(client: &Client) -> Producer {
    let options = producer::Options {
        delivery_timeout: Duration::from_secs(30),
        queue_messages: 10_000,
        queue_kib: 65_536,
    };
    Producer::open(client, options).unwrap()
}

/// A record of the rows topic. Its key is its id, so that both partitions are used.
pub(crate) fn outgoing<'a>(
    topic: &'a str,
    id: &'a str,
    time: Timestamp,
    value: Option<&'a [u8]>,
) -> Outgoing<'a> {
    let headers = Headers::with_capacity(3)
        .with(header::ID, EventId::new().to_string())
        .with(header::ORIGIN, id)
        .with(header::TIME, event::format_time(time));
    Outgoing {
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

/// The cells of a row that does not matter.
pub(crate) fn any() -> Value {
    json!([cell("roll", "99999")])
}

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

pub(crate) fn earlier(milliseconds: i64) -> Timestamp {
    now() - milliseconds.milliseconds()
}
