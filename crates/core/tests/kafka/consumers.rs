//! Members of a consumer group join, leave, pause and restart.

use std::time::{Duration, Instant};

use formline_core::kafka::consumer::Polled;
use formline_testing::unique;

use super::support::{
    SOON, first_partition, join, new_client, new_topic, next_record, poll_until, producer, text,
};

#[tokio::test]
async fn partitions_move_between_members_and_a_consumer_can_seek_back() {
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
        assert_eq!(
            next_record(&mut first).offset,
            record.offset,
            "the record is read again"
        );

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
        .expect("no member blocks")
        .unwrap();
}

#[tokio::test]
async fn a_paused_partition_returns_no_records_until_it_is_resumed() {
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
async fn a_restarted_member_gets_its_partitions_at_once() {
    let client = new_client().await;
    let topic = new_topic(&client, 1).await;
    let group = unique("group");
    producer(&client).send(text(&topic, "value")).await.unwrap();
    let mut killed = join(&client, &group, "member", &topic);
    next_record(&mut killed);
    // Like a killed process, a consumer that is never closed does not leave the group.
    std::mem::forget(killed);
    let start = Instant::now();
    next_record(&mut join(&client, &group, "member", &topic));
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "well below the session timeout of 10 s"
    );
}
