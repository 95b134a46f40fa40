//! Transactions publish atomically, and the progress of groups includes their markers.

use std::time::{Duration, Instant};

use formline_core::{
    Client,
    kafka::{
        group_progress::{GroupProgress, Stage},
        transaction::{TransactionError, TransactionalProducer},
    },
};
use formline_testing::unique;

use super::support::{
    SOON, first_partition, join, new_client, new_topic, next_record, poll_until, producer, text,
    values,
};

#[tokio::test]
async fn a_transaction_publishes_outputs_and_offsets_atomically() {
    let client = new_client().await;
    let (input, output) = (new_topic(&client, 1).await, new_topic(&client, 1).await);
    let input_producer = producer(&client);
    for value in ["one", "two", "three"] {
        input_producer.send(text(&input, value)).await.unwrap();
    }
    let group = unique("group");
    let work = move || {
        let mut consumer = join(&client, &group, "worker", &input);
        let mut producer = TransactionalProducer::open(&client, &group, "").unwrap();
        let at = first_partition(&input);
        for (index, value) in ["one", "two", "three"].into_iter().enumerate() {
            assert_eq!(next_record(&mut consumer).value(), Some(value.as_bytes()));
            let mut rolled_back = producer.begin().unwrap();
            rolled_back.send(text(&output, "rolled back")).unwrap();
            drop(producer);
            producer = TransactionalProducer::open(&client, &group, "").unwrap();
            let mut transaction = producer.begin().unwrap();
            transaction.send(text(&output, value)).unwrap();
            let next = i64::try_from(index).unwrap() + 1;
            transaction
                .commit(&[(at.clone(), next)], &consumer)
                .unwrap();
            assert_eq!(consumer.committed().unwrap(), [(at.clone(), next)]);
        }
        assert_eq!(values(&client, &output), ["one", "two", "three"]);
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test]
async fn a_second_producer_with_the_same_id_fences_the_first() {
    let client = new_client().await;
    let (input, output) = (new_topic(&client, 1).await, new_topic(&client, 1).await);
    let work = move || {
        let id = unique("worker");
        let consumer = join(&client, &id, "worker", &input);
        let mut first = TransactionalProducer::open(&client, &id, "").unwrap();
        let mut transaction = first.begin().unwrap();
        transaction.send(text(&output, "from the first")).unwrap();
        let mut second = TransactionalProducer::open(&client, &id, "").unwrap();
        let fenced = transaction.commit(&[(first_partition(&input), 1)], &consumer);
        assert!(fenced.is_err());
        let mut transaction = second.begin().unwrap();
        transaction.send(text(&output, "from the second")).unwrap();
        transaction.commit(&[], &consumer).unwrap();
        assert_eq!(values(&client, &output), ["from the second"]);
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test]
async fn a_group_has_passed_a_topic_once_it_has_committed_its_end() {
    let client = new_client().await;
    let topic = new_topic(&client, 1).await;
    let group = unique("group");
    let work = move || {
        let stage = Stage {
            group: group.clone(),
            topics: vec![topic.clone()],
        };
        let progress = GroupProgress::open(&client, vec![stage]).unwrap();
        assert!(
            progress
                .has_passed(0, &progress.ends_to_pass(0).unwrap())
                .unwrap(),
            "the topic is empty"
        );

        // A commit marker follows the record. Consumers do not receive it.
        let mut consumer = join(&client, &group, "member", &topic);
        let mut producer = TransactionalProducer::open(&client, &unique("worker"), "").unwrap();
        let mut transaction = producer.begin().unwrap();
        transaction.send(text(&topic, "value")).unwrap();
        transaction.commit(&[], &consumer).unwrap();
        // The coordinator writes the marker after it has acknowledged the commit.
        let until = Instant::now() + SOON;
        let mut ends = progress.ends(0).unwrap();
        while ends != [(topic.clone(), 0, 2)] {
            assert!(Instant::now() < until, "{ends:?}");
            ends = progress.ends(0).unwrap();
        }
        assert!(!progress.has_passed(0, &ends).unwrap());

        next_record(&mut consumer);
        poll_until(&mut consumer, |_| Some(()));
        let positions = consumer.positions().unwrap();
        assert_eq!(
            positions,
            [(first_partition(&topic), 2)],
            "after the marker"
        );
        consumer.commit(&positions).unwrap();
        let until = Instant::now() + SOON;
        while !progress.has_passed(0, &ends).unwrap() {
            assert!(Instant::now() < until);
            consumer.poll(Duration::from_millis(20)).unwrap();
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[test]
fn an_error_names_the_invalid_property() {
    let properties = [("no.such.property".to_owned(), "1".to_owned())].into();
    let client = Client::new("127.0.0.1:1", properties);
    let error = TransactionalProducer::open(&client, "id", "").unwrap_err();
    assert!(matches!(error, TransactionError::Client(_)), "{error:?}");
    assert!(error.to_string().contains("no.such.property"), "{error}");
}
