//! What tests write to topics, and what they read from them.

use std::time::Duration;

use formline_core::{
    Consumer, EventId, Record,
    event::Submission,
    kafka::{
        client::ClientError,
        consumer::{ConsumerOptions, Polled},
        group_progress::{GroupProgress, Stage},
        reader::{Reader, StartOffset},
        record::{Headers, OutgoingRecord},
        topic,
        transaction::TransactionalProducer,
    },
};
use formline_testing::eventually;
use jiff::Timestamp;

use super::{Pipeline, SOON};

/// The interval between two queries of Kafka.
const SETTLING: Duration = Duration::from_millis(20);

impl Pipeline {
    /// Submits through a form, as ingest does.
    pub async fn submit(&self, topic: &str, key: &str, value: &str) -> EventId {
        let (id, value) = (EventId::new(), value.as_bytes());
        self.write(topic, key.as_bytes(), value, headers(id, key, None))
            .await;
        id
    }

    /// Submits many values concurrently.
    pub async fn submit_all(&self, topic: &str, key: &str, values: &[String]) {
        let sending = values.iter().map(|value| self.submit(topic, key, value));
        futures::future::join_all(sending).await;
    }

    /// Submits with an Idempotency-Key.
    pub async fn submit_keyed(&self, topic: &str, key: &str, value: &str) -> EventId {
        let id = EventId::keyed(topic, key);
        let headers = headers(id, key, Some("fingerprint"));
        self.write(topic, key.as_bytes(), value.as_bytes(), headers)
            .await;
        id
    }

    /// Submits with a timestamp in the past, in milliseconds since 1970.
    pub async fn submit_at(&self, topic: &str, key: &str, value: &str, timestamp_ms: i64) {
        let headers = headers(EventId::new(), key, None);
        let value = value.as_bytes();
        self.produce(topic, key.as_bytes(), value, headers, Some(timestamp_ms))
            .await;
    }

    /// Writes a record that need not come from a form.
    pub async fn write(&self, topic: &str, key: &[u8], value: &[u8], headers: Headers) {
        self.produce(topic, key, value, headers, None).await;
    }

    async fn produce(
        &self,
        topic: &str,
        key: &[u8],
        value: &[u8],
        headers: Headers,
        timestamp_ms: Option<i64>,
    ) {
        let record = OutgoingRecord {
            topic: &self.topic(topic),
            partition: None,
            key: Some(key),
            value: Some(value),
            headers,
            timestamp_ms,
        };
        self.producer.send(record).await.unwrap();
    }

    /// Resets the committed offsets of a step to the beginning, as an operator may.
    pub async fn reset_offsets(&self, step: &str) {
        let step = self.steps.iter().find(|other| other.name == step).unwrap();
        let options = ConsumerOptions {
            group: step.group(),
            member: "operator".to_owned(),
            topics: step.topics(),
        };
        let mut operator = Consumer::join(&self.client, &options).unwrap();
        let partitions = loop {
            if let Polled::Assigned(partitions) = operator.poll(SOON).unwrap() {
                break partitions;
            }
        };
        let beginning: Vec<_> = partitions.into_iter().map(|it| (it, 0)).collect();
        operator.commit(&beginning).unwrap();
        while operator.committed().unwrap() != beginning {
            assert!(!matches!(
                operator.poll(SETTLING).unwrap(),
                Polled::Revoked(_)
            ));
        }
    }

    /// Writes a record in a transaction that stays open.
    pub async fn hold_open(&self, topic: &str, partition: i32) -> TransactionalProducer {
        let before = self.end_of(topic, partition);
        let mut transactions =
            TransactionalProducer::open(&self.client, &self.topic("held"), "").unwrap();
        let mut open = transactions.begin().unwrap();
        let record = OutgoingRecord {
            topic,
            partition: Some(partition),
            key: Some(b"held"),
            value: Some(b"open"),
            headers: Headers::with_capacity(0),
            timestamp_ms: None,
        };
        open.send(record).unwrap();
        drop(open);
        eventually(SOON, async || self.end_of(topic, partition) > before).await;
        transactions
    }

    fn end_of(&self, topic: &str, partition: i32) -> i64 {
        let stage = Stage {
            group: self.topic("nobody"),
            topics: vec![topic.to_owned()],
        };
        let ends = GroupProgress::open(&self.client, vec![stage])
            .unwrap()
            .ends(0);
        let ends = ends.unwrap().into_iter();
        let mut of_partition = ends.filter(|(_, number, _)| *number == partition);
        of_partition.next().unwrap().2
    }

    /// Aborts a transaction that was held open.
    pub fn end(&self, open: TransactionalProducer) {
        drop(open);
        drop(TransactionalProducer::open(&self.client, &self.topic("held"), "").unwrap());
    }

    /// All committed records of a topic.
    pub fn records(&self, topic: &str) -> Vec<Record> {
        self.all(&self.topic(topic))
    }

    /// The dead letters of a step.
    pub fn dead_letters(&self, step: &str) -> Vec<Record> {
        self.all(&topic::dead_letter(&self.app, step))
    }

    /// The changelog of a step's stores, before compaction, without the host's own entries.
    pub fn changelog(&self, step: &str) -> Vec<Record> {
        let mut records = self.all(&topic::state(&self.app, step));
        records.retain(|record| !record.key().unwrap().starts_with(&[0]));
        records
    }

    fn all(&self, topic: &str) -> Vec<Record> {
        self.try_all(topic).unwrap()
    }

    fn try_all(&self, topic: &str) -> Result<Vec<Record>, ClientError> {
        let mut records = Vec::new();
        let mut reader = Reader::open(&self.client, topic, &[], StartOffset::Beginning)?;
        reader.read_to_end(|| true, |record| records.push(record))?;
        Ok(records)
    }

    /// Waits until a topic contains this many records, and returns them.
    pub async fn wait_for(&self, topic: &str, count: usize) -> Vec<Record> {
        let topic = self.topic(topic);
        self.wait_for_all(&topic, count).await
    }

    /// Waits for the dead letters of a step.
    pub async fn wait_for_dead_letters(&self, step: &str, count: usize) -> Vec<Record> {
        self.wait_for_all(&topic::dead_letter(&self.app, step), count)
            .await
    }

    async fn wait_for_all(&self, topic: &str, count: usize) -> Vec<Record> {
        eventually(SOON, async || match self.try_all(topic) {
            Ok(records) if records.len() >= count => Ok(records),
            Ok(records) => Err(format!("{} records", records.len())),
            // Some tests kill Kafka.
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Waits until the steps' committed offsets are the ends of their topics.
    pub async fn wait_until_passed(&self) {
        for step in &self.steps {
            let stage = Stage {
                group: step.group(),
                topics: step.topics(),
            };
            let progress = GroupProgress::open(&self.client, vec![stage]).unwrap();
            eventually(SOON, async || {
                let ends = progress.ends_to_pass(0).unwrap();
                progress
                    .has_passed(0, &ends)
                    .map_err(|error| error.to_string())
                    == Ok(true)
            })
            .await;
        }
    }
}

fn headers(id: EventId, key: &str, fingerprint: Option<&str>) -> Headers {
    let submission = Submission {
        id,
        time: Timestamp::now(),
        form: "students",
        subject: Some(key),
        schema: "/v1/forms/students/schema",
        trace_parent: None,
        fingerprint,
    };
    submission.headers()
}
