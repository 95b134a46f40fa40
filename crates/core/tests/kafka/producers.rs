//! Records are acknowledged, or the producer returns an error in time.

use std::{collections::BTreeMap, time::Duration};

use formline_core::{
    Client, Producer,
    kafka::{
        producer::{ProducerError, ProducerOptions},
        reader::{Reader, StartOffset},
    },
};
use formline_testing::{Kafka, free_port};

use super::support::{new_client, new_topic, producer, text, values};

#[tokio::test]
async fn an_acknowledged_record_is_read_back_byte_for_byte() {
    let client = new_client().await;
    let topic = new_topic(&client, 1).await;
    let delivery = producer(&client).send(text(&topic, "hello")).await.unwrap();
    assert_eq!((delivery.partition, delivery.offset), (0, 0));

    let mut reader = Reader::open(&client, &topic, &[], StartOffset::Beginning).unwrap();
    let mut records = Vec::new();
    reader
        .read_to_end(|| true, |record| records.push(record))
        .unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].key(), Some(b"key".as_slice()));
    assert_eq!(records[0].value(), Some(b"hello".as_slice()));
    assert_eq!(records[0].header("a"), Some(b"1".as_slice()));
    assert_eq!(records[0].timestamp_ms, 1_700_000_000_000);
}

#[tokio::test]
async fn kafka_rejects_a_record_that_is_too_large() {
    let client = new_client().await;
    let topic = new_topic(&client, 1).await;
    let large = "x".repeat(2_000_000);
    let rejected = producer(&client).send(text(&topic, &large)).await;
    assert!(
        matches!(rejected, Err(ProducerError::Rejected(_))),
        "{rejected:?}"
    );
}

#[tokio::test]
async fn without_kafka_a_send_fails_in_time_and_the_queue_is_bounded() {
    let client = Client::new(format!("127.0.0.1:{}", free_port()), BTreeMap::new());
    let delivery_timeout = Duration::from_millis(500);
    let options = ProducerOptions {
        delivery_timeout,
        queue_messages: 1,
        queue_kib: 64,
    };
    let producer = Producer::open(&client, options).unwrap();
    let (one, other) = tokio::join!(producer.send(text("t", "1")), producer.send(text("t", "2")));
    assert!(
        matches!(one, Err(ProducerError::NotAcknowledged(_))),
        "{one:?}"
    );
    assert!(matches!(other, Err(ProducerError::QueueFull)), "{other:?}");
    assert_eq!(producer.in_flight(), 0);
}

#[tokio::test]
async fn records_survive_a_kill_of_kafka_and_clients_reconnect() {
    let mut kafka = Kafka::start_own().await;
    let client = Client::new(kafka.bootstrap(), BTreeMap::new());
    let topic = new_topic(&client, 1).await;
    let producer = producer(&client);
    producer.send(text(&topic, "before")).await.unwrap();
    kafka.kill();
    kafka.restart().await;
    producer.send(text(&topic, "after")).await.unwrap();
    assert_eq!(values(&client, &topic), ["before", "after"]);
}
