//! Writes and reads topics without the program.

use std::{collections::BTreeMap, time::Duration};

use formline_core::{
    Client, EventId, Producer, Record,
    event::Submission,
    kafka::{
        producer::ProducerOptions,
        reader::{Reader, StartOffset},
        record::OutgoingRecord,
        topic,
    },
};
use jiff::Timestamp;

/// A submission that is written to Kafka as ingest would write it.
pub(crate) struct TestSubmission<'a> {
    pub(crate) id: EventId,
    pub(crate) time: Timestamp,
    /// The form, and its topic.
    pub(crate) form: &'a str,
    /// The key of the record; without it the id.
    pub(crate) subject: Option<&'a str>,
    /// The fingerprint of the body, if the submission had an `Idempotency-Key`.
    pub(crate) fingerprint: Option<&'a str>,
    pub(crate) value: &'a str,
}

// === impl TestSubmission ===

impl<'a> TestSubmission<'a> {
    /// A submission that is accepted now, without an `Idempotency-Key`.
    pub(crate) fn new(form: &'a str, subject: &'a str, value: &'a str) -> Self {
        Self {
            id: EventId::new(),
            time: Timestamp::now(),
            form,
            subject: Some(subject),
            fingerprint: None,
            value,
        }
    }

    /// Writes it, and returns its partition.
    pub(crate) async fn send(self, producer: &Producer) -> i32 {
        let submission = Submission {
            id: self.id,
            time: self.time,
            form: self.form,
            subject: self.subject,
            schema: "/schema",
            trace_parent: None,
            fingerprint: self.fingerprint,
        };
        let key = self.subject.map_or(&self.id.as_bytes()[..], str::as_bytes);
        let record = OutgoingRecord {
            topic: self.form,
            partition: None,
            key: Some(key),
            value: Some(self.value.as_bytes()),
            headers: submission.headers(),
            timestamp_ms: None,
        };
        producer.send(record).await.unwrap().partition
    }
}

pub(crate) fn client(bootstrap: &str) -> Client {
    Client::new(bootstrap, BTreeMap::new())
}

pub(crate) fn producer(client: &Client) -> Producer {
    let options = ProducerOptions {
        delivery_timeout: Duration::from_secs(60),
        queue_messages: 100_000,
        queue_kib: 65_536,
    };
    Producer::open(client, options).unwrap()
}

/// Creates a topic with one partition.
pub(crate) async fn create_topic(client: &Client, name: &str) {
    let topic = topic::Topic {
        name: name.to_owned(),
        partitions: 1,
        config: BTreeMap::new(),
    };
    topic::apply(client, &[topic]).await.unwrap();
}

/// All committed records of a topic.
pub(crate) fn read_all(client: &Client, topic: &str) -> Vec<Record> {
    let mut records = Vec::new();
    let mut reader = Reader::open(client, topic, &[], StartOffset::Beginning).unwrap();
    reader
        .read_to_end(|| true, |record| records.push(record))
        .unwrap();
    records
}
