//! Helpers of these tests: clients of a real Kafka, topics of their own, and waiting.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use formline_core::{
    Client, Consumer, Producer, Record,
    kafka::{
        consumer::{ConsumerOptions, Polled},
        producer::ProducerOptions,
        reader::{Reader, StartOffset},
        record::{Headers, OutgoingRecord, Partition},
        topic::{self, Topic},
    },
};
use formline_testing::{kafka, unique};

pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) async fn new_client() -> Client {
    Client::new(kafka().await.bootstrap(), BTreeMap::new())
}

pub(crate) fn producer(client: &Client) -> Producer {
    let delivery_timeout = Duration::from_secs(10);
    let options = ProducerOptions {
        delivery_timeout,
        queue_messages: 1000,
        queue_kib: 4096,
    };
    Producer::open(client, options).unwrap()
}

pub(crate) async fn new_topic(client: &Client, partitions: i32) -> String {
    new_topic_with(client, partitions, &[]).await
}

pub(crate) async fn new_topic_with(
    client: &Client,
    partitions: i32,
    config: &[(&str, &str)],
) -> String {
    let name = unique("topic");
    // The records of `text` have an old timestamp; Kafka must not delete them.
    let config = [("retention.ms", "-1")].iter().chain(config);
    let config = config.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let topic = Topic {
        name: name.clone(),
        partitions,
        config: config.collect(),
    };
    topic::apply(client, &[topic]).await.unwrap();
    name
}

pub(crate) fn text<'a>(topic: &'a str, value: &'a str) -> OutgoingRecord<'a> {
    OutgoingRecord {
        topic,
        partition: Some(0),
        key: Some(b"key"),
        value: Some(value.as_bytes()),
        headers: Headers::with_capacity(1).with("a", "1"),
        timestamp_ms: Some(1_700_000_000_000),
    }
}

/// Returns the values of all committed records of partition 0.
pub(crate) fn values(client: &Client, topic: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut reader = Reader::open(client, topic, &[0], StartOffset::Beginning).unwrap();
    reader
        .read_to_end(|| true, |record| values.push(value(&record)))
        .unwrap();
    values
}

pub(crate) fn value(record: &Record) -> String {
    String::from_utf8(record.value().unwrap().to_vec()).unwrap()
}

pub(crate) fn join(client: &Client, group: &str, member: &str, topic: &str) -> Consumer {
    let (group, member, topics) = (group.to_owned(), member.to_owned(), vec![topic.to_owned()]);
    Consumer::join(
        client,
        &ConsumerOptions {
            group,
            member,
            topics,
        },
    )
    .unwrap()
}

/// Polls until `wanted` returns a value.
pub(crate) fn poll_until<T>(
    consumer: &mut Consumer,
    mut wanted: impl FnMut(Polled) -> Option<T>,
) -> T {
    let until = Instant::now() + SOON;
    while Instant::now() < until {
        if let Some(found) = wanted(consumer.poll(Duration::from_millis(50)).unwrap()) {
            return found;
        }
    }
    panic!("nothing arrived within {SOON:?}");
}

pub(crate) fn next_record(consumer: &mut Consumer) -> Record {
    poll_until(consumer, |polled| match polled {
        Polled::Record(record) => Some(record),
        _ => None,
    })
}

pub(crate) fn first_partition(topic: &str) -> Partition {
    Partition {
        topic: topic.into(),
        number: 0,
    }
}
