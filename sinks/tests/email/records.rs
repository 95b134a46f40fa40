//! A topic of records for one sink with a journal and dead letters.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use formline_core::{
    App, Client, EventId, Producer,
    app::{Location, Sink, SinkKind},
    event::{Submission, header},
    ledger::{DeadLetters, Ledger},
    letter::Letter,
    producer,
    reader::{From, Reader},
    record::{Headers, Outgoing},
    settlement::Settler,
    topic::{self, Topic},
};
use formline_sinks::Placed;
use formline_testing::{Kafka, eventually, unique};
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::line::DEADLINE;

/// A topic with two partitions, and the other topics of the sink that reads it.
pub(crate) struct Records {
    pub(crate) client: Client,
    pub(crate) app: String,
    pub(crate) sink: &'static str,
    pub(crate) folder: TempDir,
    topic: String,
    producer: Producer,
}

impl Records {
    pub(crate) async fn on(kafka: &Kafka, sink: &'static str) -> Self {
        let client = Client::new(kafka.bootstrap(), BTreeMap::new());
        let app = unique("app");
        let options = producer::Options {
            delivery_timeout: Duration::from_secs(30),
            queue_messages: 10_000,
            queue_kib: 65_536,
        };
        let records = Self {
            producer: Producer::open(&client, options).unwrap(),
            client,
            topic: app.clone(),
            app,
            sink,
            folder: tempfile::tempdir().unwrap(),
        };
        let (letters, journal) = (
            topic::dead_letter(&records.app, sink),
            topic::journal(&records.app, sink),
        );
        records.create(&records.topic, 2).await;
        records.create(&letters, 1).await;
        records.create(&journal, 2).await;
        records
    }

    /// Creates a topic, or gives it more partitions.
    pub(crate) async fn create(&self, name: &str, partitions: i32) {
        let topic = Topic {
            name: name.to_owned(),
            partitions,
            config: BTreeMap::new(),
        };
        topic::apply(&self.client, &[topic]).await.unwrap();
    }

    /// The sink that reads the topic.
    pub(crate) fn placed(&self, kind: SinkKind) -> Placed {
        let location = Location {
            file: Arc::new(PathBuf::from("app.toml")),
            line: 1,
        };
        let sink = Arc::new(Sink {
            app: self.app.clone(),
            name: self.sink.to_owned(),
            input: vec![self.topic.clone()],
            kind,
            location,
        });
        let app = App {
            name: self.app.clone(),
            folder: self.folder.path().to_owned(),
            topics: Vec::new(),
            forms: Vec::new(),
            steps: Vec::new(),
            sinks: vec![Arc::clone(&sink)],
        };
        (Arc::new(app), sink)
    }

    /// A record with these fields, as a step would write it; its id.
    pub(crate) async fn submit(&self, fields: &Value) -> String {
        let id = EventId::new();
        let submission = Submission {
            id,
            time: Timestamp::now(),
            form: "student-data",
            subject: None,
            schema: "/v1/forms/student-data/schema",
            trace_parent: None,
            fingerprint: None,
        };
        self.put(submission.headers(), &fields.to_string()).await;
        id.to_string()
    }

    pub(crate) async fn put(&self, headers: Headers, value: &str) {
        let id = headers.get(header::ID).map(<[u8]>::to_vec);
        let record = Outgoing {
            topic: &self.topic,
            partition: None,
            // Both partitions are used.
            key: id.as_deref(),
            value: Some(value.as_bytes()),
            headers,
            timestamp_ms: None,
        };
        self.producer.send(record).await.unwrap();
    }

    /// The outcomes that the journal holds about a record, attempt after attempt.
    pub(crate) async fn journal(&self, id: &str) -> Vec<String> {
        let (client, topic) = (self.client.clone(), topic::journal(&self.app, self.sink));
        let id = id.to_owned();
        let read = move || {
            let mut reader = Reader::open(&client, &topic, &[], From::Beginning).unwrap();
            let mut outcomes = Vec::new();
            let note = |record: formline_core::Record| {
                if record.key() == Some(id.as_bytes()) {
                    let entry: Value = serde_json::from_slice(record.value().unwrap()).unwrap();
                    let outcome = entry["outcome"].as_str().unwrap().to_owned();
                    outcomes.push((entry["attempt"].as_u64(), outcome));
                }
            };
            reader.read_to_end(|| true, note).unwrap();
            outcomes.sort_by_key(|(attempt, _)| *attempt);
            outcomes.into_iter().map(|(_, outcome)| outcome).collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    /// Waits until the journal says this of a record, and nothing else.
    pub(crate) async fn expect_journal(&self, id: &str, outcomes: &[&str]) {
        eventually(DEADLINE, async || {
            let found = self.journal(id).await;
            (found == outcomes).then_some(()).ok_or(found)
        })
        .await;
    }

    fn dead_letter_owner(&self) -> DeadLetters {
        DeadLetters {
            app: self.app.clone(),
            step: self.sink.to_owned(),
            topics: vec![self.topic.clone()],
        }
    }

    /// The open dead letters.
    async fn dead_letters(&self) -> Vec<Letter> {
        let (client, owner) = (self.client.clone(), self.dead_letter_owner());
        let read = move || {
            let ledger = Ledger::read(&client, owner).unwrap();
            let letters = ledger.letters(&client, 0).unwrap().map(Result::unwrap);
            let open = letters.filter(|letter| ledger.closed(letter.id.offset).is_none());
            open.collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    /// Waits until there are open dead letters for these reasons.
    pub(crate) async fn expect_dead_letters(&self, reasons: &[&str]) {
        eventually(DEADLINE, async || {
            let letters = self.dead_letters().await;
            let found: Vec<String> = letters
                .iter()
                .map(|letter| letter.reason().to_owned())
                .collect();
            (found == reasons).then_some(()).ok_or(found)
        })
        .await;
    }

    /// Replays every open dead letter.
    pub(crate) async fn replay(&self) {
        let (client, owner) = (self.client.clone(), self.dead_letter_owner());
        let letters = self.dead_letters().await;
        let settle = move || {
            let mut settler = Settler::open(&client, owner).unwrap();
            for letter in &letters {
                settler.replay(letter).unwrap();
            }
        };
        tokio::task::spawn_blocking(settle).await.unwrap();
    }
}
