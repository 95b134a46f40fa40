//! The topics of one sink: records, a journal and dead letters.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use formline_core::{
    App, Client, Consumer, EventId, Producer, Record,
    app::{Location, Sink, SinkKind},
    dead_letter::letter::{DeadLetter, DeadLetterOwner},
    event::{Submission, header},
    kafka::{
        client::ClientError,
        consumer::{ConsumerOptions, Polled},
        producer::ProducerOptions,
        reader::{Reader, StartOffset},
        record::{Headers, OutgoingRecord},
        topic::{self, Topic},
    },
};
use formline_sinks::Placed;
use formline_testing::{Kafka, eventually, unique};
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::{dead_letters, running::DEADLINE};

/// A topic of records with two partitions, and the other topics of the sink that reads it.
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
        let options = ProducerOptions {
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

    /// Creates a topic, or adds partitions to it.
    pub(crate) async fn create(&self, name: &str, partitions: i32) {
        self.create_with_limit(name, partitions, "1048576").await;
    }

    /// Creates a topic with a limit for the size of records.
    pub(crate) async fn create_with_limit(&self, name: &str, partitions: i32, bytes: &str) {
        let topic = Topic {
            name: name.to_owned(),
            partitions,
            config: [("max.message.bytes".to_owned(), bytes.to_owned())].into(),
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

    /// Writes a record with these fields, as a step would, and returns its id.
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
        let record = OutgoingRecord {
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

    /// All records of a topic. A partition that was just created may have no leader yet.
    pub(crate) async fn read(&self, topic: &str) -> Vec<Record> {
        eventually(DEADLINE, async || {
            let (client, topic) = (self.client.clone(), topic.to_owned());
            let read = move || {
                let mut records = Vec::new();
                let mut reader = Reader::open(&client, &topic, &[], StartOffset::Beginning)?;
                reader.read_to_end(|| true, |record| records.push(record))?;
                Ok::<_, ClientError>(records)
            };
            tokio::task::spawn_blocking(read).await.unwrap()
        })
        .await
    }

    /// The entries of the journal, each with its key.
    async fn entries(&self) -> Vec<(Vec<u8>, Value)> {
        let records = self.read(&topic::journal(&self.app, self.sink)).await;
        let entry = |record: &Record| {
            let value = serde_json::from_slice(record.value().unwrap()).unwrap();
            (record.key().unwrap().to_vec(), value)
        };
        records.iter().map(entry).collect()
    }

    /// The outcomes in the journal about a record, in the order of attempts.
    pub(crate) async fn journal(&self, id: &str) -> Vec<String> {
        let entries = self.entries().await.into_iter();
        let mut about: Vec<Value> = entries
            .filter(|(key, _)| key == id.as_bytes())
            .map(|(_, entry)| entry)
            .collect();
        about.sort_by_key(|entry| entry["attempt"].as_u64());
        let outcomes = about.iter().map(|entry| entry["outcome"].as_str());
        outcomes
            .map(|outcome| outcome.unwrap().to_owned())
            .collect()
    }

    /// Waits until the journal contains exactly these outcomes about a record.
    pub(crate) async fn expect_journal(&self, id: &str, outcomes: &[&str]) {
        eventually(DEADLINE, async || {
            let found = self.journal(id).await;
            (found == outcomes).then_some(()).ok_or(found)
        })
        .await;
    }

    /// All entries of the journal.
    pub(crate) async fn journal_text(&self) -> String {
        format!("{:?}", self.entries().await)
    }

    /// Sets the committed offsets to the beginning, as if the sink had crashed before its commit.
    /// The group must have no members.
    pub(crate) async fn reset_offsets(&self) {
        let (client, topic) = (self.client.clone(), self.topic.clone());
        let options = ConsumerOptions {
            group: topic::group(&self.app, self.sink),
            // The name of the sink, so that this member replaces it at once.
            member: "one".to_owned(),
            topics: vec![topic],
        };
        let reset = move || {
            let mut consumer = Consumer::join(&client, &options).unwrap();
            let partitions = loop {
                if let Polled::Assigned(partitions) = consumer.poll(DEADLINE).unwrap() {
                    break partitions;
                }
            };
            let beginning: Vec<_> = partitions.into_iter().map(|one| (one, 0)).collect();
            assert_eq!(beginning.len(), 2);
            consumer.commit(&beginning).unwrap();
            drop(consumer);
        };
        tokio::task::spawn_blocking(reset).await.unwrap();
    }

    fn dead_letter_owner(&self) -> DeadLetterOwner {
        DeadLetterOwner {
            app: self.app.clone(),
            step: self.sink.to_owned(),
            topics: vec![self.topic.clone()],
        }
    }

    /// The open dead letters.
    async fn dead_letters(&self) -> Vec<DeadLetter> {
        dead_letters::open(&self.client, &self.dead_letter_owner()).await
    }

    /// The detail of the first open dead letter.
    pub(crate) async fn dead_letter_detail(&self) -> String {
        self.dead_letters().await[0].detail().to_owned()
    }

    /// Waits until there are open dead letters with exactly these reasons.
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
        dead_letters::replay(&self.client, self.dead_letter_owner()).await;
    }
}
