//! What the line relies on between itself and Kafka, against a real one.
#![allow(clippy::unwrap_used, clippy::panic)]

mod readers;
mod vocabulary;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use formline_core::{
    Client, Producer,
    consumer::Polled,
    producer,
    progress::{Progress, Stage},
    reader::{From, Reader},
    topic::{self, Applied, Topic},
    transaction::{self, Transactions},
};
use formline_testing::{Kafka, free_port, unique};

use self::vocabulary::{
    SOON, first_partition, join, new_client, new_topic, next_record, poll_until, producer, text,
    values,
};

/// All processes of an installation do so when they start.
#[tokio::test(flavor = "multi_thread")]
async fn several_processes_create_and_extend_the_same_topics_at_once() {
    let client = new_client().await;
    let topic = |_| Topic {
        name: unique("topic"),
        partitions: 10,
        config: BTreeMap::new(),
    };
    let mut topics: Vec<Topic> = (0..5).map(topic).collect();
    let created = apply_at_once(&client, &topics).await;
    assert_eq!(
        created
            .iter()
            .filter(|one| **one == Applied::Created)
            .count(),
        5
    );
    for topic in &mut topics {
        topic.partitions = 20;
    }
    let extended = apply_at_once(&client, &topics).await;
    assert!(!extended.contains(&Applied::Created), "{extended:?}");
    assert!(
        extended.contains(&Applied::Extended { from: 10 }),
        "{extended:?}"
    );
}

/// What four processes have done with these topics.
async fn apply_at_once(client: &Client, topics: &[Topic]) -> Vec<Applied> {
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (client, topics) = (client.clone(), topics.to_vec());
        processes.spawn(async move { topic::apply(&client, &topics).await.unwrap() });
    }
    let applied = processes.join_all().await.into_iter().flatten();
    applied.map(|(_, applied)| applied).collect()
}

#[tokio::test]
async fn topics_are_created_kept_and_extended_but_never_shrunk() {
    let client = new_client().await;
    let declared = |partitions| {
        let config = [("cleanup.policy".to_owned(), "compact".to_owned())].into();
        Topic {
            name: "to-be-named".to_owned(),
            partitions,
            config,
        }
    };
    let name = unique("topic");
    for (partitions, expected) in [
        (2, Applied::Created),
        (2, Applied::Unchanged),
        (3, Applied::Extended { from: 2 }),
    ] {
        let topic = Topic {
            name: name.clone(),
            ..declared(partitions)
        };
        // Kafka answers before every broker knows the new count.
        formline_testing::eventually(SOON, async || {
            let applied = topic::apply(&client, std::slice::from_ref(&topic))
                .await
                .unwrap();
            applied[0].1 == expected || partitions == 2 && applied[0].1 == Applied::Unchanged
        })
        .await;
    }
    formline_testing::eventually(SOON, async || {
        let refused = topic::apply(
            &client,
            &[Topic {
                name: name.clone(),
                ..declared(1)
            }],
        )
        .await;
        matches!(
            refused,
            Err(topic::Error::TooManyPartitions {
                found: 3,
                declared: 1,
                ..
            })
        )
    })
    .await;
    let nonsense = Topic {
        config: [("no.such".to_owned(), "1".to_owned())].into(),
        ..declared(1)
    };
    let refused = topic::apply(&client, &[nonsense]).await;
    assert!(
        matches!(refused, Err(topic::Error::Refused { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_acknowledged_record_is_read_back_byte_for_byte() {
    let client = new_client().await;
    let topic = new_topic(&client, 1).await;
    let delivery = producer(&client).send(text(&topic, "hello")).await.unwrap();
    assert_eq!((delivery.partition, delivery.offset), (0, 0));

    let mut reader = Reader::open(&client, &topic, &[], From::Beginning).unwrap();
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
async fn kafka_refuses_what_is_too_large() {
    let client = new_client().await;
    let topic = new_topic(&client, 1).await;
    let large = "x".repeat(2_000_000);
    let refused = producer(&client).send(text(&topic, &large)).await;
    assert!(
        matches!(refused, Err(producer::Error::Refused(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn without_kafka_a_send_fails_within_its_time_and_the_queue_is_bounded() {
    let client = Client::new(format!("127.0.0.1:{}", free_port()), BTreeMap::new());
    let delivery_timeout = Duration::from_millis(500);
    let options = producer::Options {
        delivery_timeout,
        queue_messages: 1,
        queue_kib: 64,
    };
    let producer = Producer::open(&client, options).unwrap();
    let (one, other) = tokio::join!(producer.send(text("t", "1")), producer.send(text("t", "2")));
    assert!(
        matches!(one, Err(producer::Error::NotAcknowledged(_))),
        "{one:?}"
    );
    assert!(
        matches!(other, Err(producer::Error::QueueFull)),
        "{other:?}"
    );
    assert_eq!(producer.in_flight(), 0);
}

#[tokio::test]
async fn a_transaction_publishes_outputs_and_offsets_together_or_nothing() {
    let client = new_client().await;
    let (input, output) = (new_topic(&client, 1).await, new_topic(&client, 1).await);
    let producer = producer(&client);
    for value in ["one", "two", "three"] {
        producer.send(text(&input, value)).await.unwrap();
    }
    let group = unique("group");
    let work = move || {
        let mut consumer = join(&client, &group, "worker", &input);
        let mut transactions = Transactions::open(&client, &group, "").unwrap();
        let at = first_partition(&input);
        for (index, value) in ["one", "two", "three"].into_iter().enumerate() {
            assert_eq!(next_record(&mut consumer).value(), Some(value.as_bytes()));
            let mut taken_back = transactions.begin().unwrap();
            taken_back.send(text(&output, "never seen")).unwrap();
            drop(transactions);
            transactions = Transactions::open(&client, &group, "").unwrap();
            let mut transaction = transactions.begin().unwrap();
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
async fn a_second_process_of_the_same_name_fences_the_first() {
    let client = new_client().await;
    let (input, output) = (new_topic(&client, 1).await, new_topic(&client, 1).await);
    let work = move || {
        let id = unique("worker");
        let consumer = join(&client, &id, "worker", &input);
        let mut first = Transactions::open(&client, &id, "").unwrap();
        let mut transaction = first.begin().unwrap();
        transaction.send(text(&output, "from the first")).unwrap();
        let mut second = Transactions::open(&client, &id, "").unwrap();
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
async fn a_group_has_passed_a_topic_when_it_has_committed_its_end() {
    let client = new_client().await;
    let topic = new_topic(&client, 1).await;
    let group = unique("group");
    let work = move || {
        let stage = Stage {
            group: group.clone(),
            topics: vec![topic.clone()],
        };
        let progress = Progress::open(&client, vec![stage]).unwrap();
        assert!(
            progress
                .has_passed(0, &progress.ends_to_pass(0).unwrap())
                .unwrap(),
            "nothing to pass"
        );

        // The record is followed by a commit marker, which nobody reads as a record.
        let mut consumer = join(&client, &group, "member", &topic);
        let mut transactions = Transactions::open(&client, &unique("worker"), "").unwrap();
        let mut transaction = transactions.begin().unwrap();
        transaction.send(text(&topic, "value")).unwrap();
        transaction.commit(&[], &consumer).unwrap();
        // The coordinator writes the marker when the commit has been answered.
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
            "behind the marker"
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

#[tokio::test]
async fn partitions_move_between_members_and_seek_goes_back() {
    let client = new_client().await;
    let topic = new_topic(&client, 2).await;
    producer(&client).send(text(&topic, "value")).await.unwrap();
    let work = move || {
        let group = unique("group");
        let mut first = join(&client, &group, "first", &topic);
        let assigned = poll_until(&mut first, |polled| match polled {
            Polled::Assigned(partitions) => Some(partitions),
            _ => None,
        });
        assert_eq!(assigned.len(), 2);
        let record = next_record(&mut first);
        first.seek(&record.partition, record.offset).unwrap();
        assert_eq!(next_record(&mut first).offset, record.offset, "once more");

        let mut second = join(&client, &group, "second", &topic);
        let (mut revoked, mut kept, mut taken) = (false, 0, 0);
        let until = Instant::now() + SOON;
        while kept + taken < 2 || !revoked || kept == 0 {
            assert!(Instant::now() < until, "{revoked} {kept} {taken}");
            match first.poll(Duration::from_millis(20)).unwrap() {
                Polled::Revoked(_) => (revoked, kept) = (true, 0),
                Polled::Assigned(partitions) => kept = partitions.len(),
                _ => {}
            }
            if let Polled::Assigned(partitions) = second.poll(Duration::from_millis(20)).unwrap() {
                taken = partitions.len();
            }
        }
        assert_eq!((kept, taken), (1, 1));
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test]
async fn a_member_can_leave_at_any_moment_of_a_rebalance() {
    let client = new_client().await;
    let topic = new_topic(&client, 2).await;
    let work = move || {
        for polls in 0..20 {
            let mut leaving = join(&client, &unique("group"), "member", &topic);
            for _ in 0..polls {
                leaving.poll(Duration::from_millis(20)).unwrap();
            }
        }
    };
    let left = tokio::task::spawn_blocking(work);
    tokio::time::timeout(2 * SOON, left)
        .await
        .expect("none hangs")
        .unwrap();
}

#[tokio::test]
async fn a_paused_partition_brings_nothing_until_it_is_resumed() {
    let client = new_client().await;
    let topic = new_topic(&client, 1).await;
    let producer = producer(&client);
    producer.send(text(&topic, "first")).await.unwrap();
    let mut consumer = join(&client, &unique("group"), "member", &topic);
    next_record(&mut consumer);
    let partitions = [first_partition(&topic)];
    consumer.pause(&partitions, true).unwrap();
    producer.send(text(&topic, "second")).await.unwrap();
    let polled = consumer.poll(Duration::from_millis(300)).unwrap();
    assert!(matches!(polled, Polled::Idle), "{polled:?}");
    consumer.pause(&partitions, false).unwrap();
    assert_eq!(
        next_record(&mut consumer).value(),
        Some(b"second".as_slice())
    );
}

#[tokio::test]
async fn a_member_that_starts_again_gets_its_partitions_at_once() {
    let client = new_client().await;
    let topic = new_topic(&client, 1).await;
    let group = unique("group");
    producer(&client).send(text(&topic, "value")).await.unwrap();
    let mut killed = join(&client, &group, "member", &topic);
    next_record(&mut killed);
    // A killed process says nothing to the group, exactly like one whose consumer is never closed.
    std::mem::forget(killed);
    let began = Instant::now();
    next_record(&mut join(&client, &group, "member", &topic));
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "well below the session time-out of 10 s"
    );
}

#[tokio::test]
async fn records_survive_a_kill_of_kafka_and_the_clients_come_back() {
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

#[test]
fn a_wrong_property_is_named() {
    let properties = [("no.such.property".to_owned(), "1".to_owned())].into();
    let client = Client::new("127.0.0.1:1", properties);
    let wrong = Transactions::open(&client, "id", "").unwrap_err();
    assert!(matches!(wrong, transaction::Error::Client(_)), "{wrong:?}");
    assert!(wrong.to_string().contains("no.such.property"), "{wrong}");
}
