//! Reading without a consumer group: to the end, by time, and to find keyed submissions.

use std::time::Duration;

use formline_core::{
    Client, EventId,
    event::{
        Submission,
        dedup::{DedupPosition, DedupReader, KeyedSubmission},
    },
    kafka::{
        client::ClientError,
        group_progress::{GroupProgress, Stage},
        reader::{Reader, StartOffset},
        record::OutgoingRecord,
        transaction::TransactionalProducer,
    },
};
use formline_testing::unique;

use super::support::{
    SOON, join, new_client, new_topic, new_topic_with, next_record, producer, text, value,
};

#[tokio::test]
async fn the_log_returns_its_keyed_submissions() {
    let client = new_client().await;
    let topic = new_topic(&client, 1).await;
    let (id, producer) = (EventId::keyed("form", "key"), producer(&client));
    for _ in 0..2 {
        let time = jiff::Timestamp::now();
        let submission = Submission {
            id,
            time,
            form: "form",
            subject: None,
            schema: "/v1/forms/form/schema",
            trace_parent: None,
            fingerprint: Some("abc"),
        };
        let headers = submission.headers();
        let record = OutgoingRecord {
            headers,
            timestamp_ms: None,
            ..text(&topic, "{}")
        };
        producer.send(record).await.unwrap();
    }
    producer
        .send(OutgoingRecord {
            timestamp_ms: None,
            ..text(&topic, "without a key")
        })
        .await
        .unwrap();

    let mut found = Vec::new();
    KeyedSubmission::read_window(&client, &topic, || true, |keyed, _| found.push(keyed)).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].id, found[0].fingerprint.as_str()), (id, "abc"));

    assert_eq!(
        recalled(&client, &topic, 1, None),
        [0],
        "the one before the offset"
    );
    assert_eq!(recalled(&client, &topic, 3, None), [0, 1]);
    assert_eq!(
        recalled(&client, &topic, 3, Some(1)),
        [1],
        "the unknown ones"
    );
    assert!(recalled(&client, &topic, 3, Some(3)).is_empty());
}

/// Returns the offsets that a consumer must know that resumes at `next` of partition 0.
fn recalled(client: &Client, topic: &str, next: i64, until: Option<i64>) -> Vec<i64> {
    let position = DedupPosition {
        partition: 0,
        next,
        until,
    };
    let mut reader = DedupReader::open(client, topic, vec![position]).unwrap();
    let mut offsets = Vec::new();
    let limit = Duration::from_millis(100);
    while !reader
        .advance(limit, |_, record| offsets.push(record.offset))
        .unwrap()
    {}
    offsets
}

#[tokio::test]
async fn a_consumer_that_was_down_for_days_knows_the_day_before_its_offset() {
    const HOUR_MS: i64 = 60 * 60 * 1000;
    let client = new_client().await;
    // Otherwise Kafka deletes such old records.
    let topic = new_topic_with(&client, 1, &[("retention.ms", "-1")]).await;
    let producer = producer(&client);
    for (key, hours) in [("long ago", -30), ("a", 0), ("other", 1), ("a", 2)] {
        let submission = Submission {
            id: EventId::keyed("form", key),
            time: jiff::Timestamp::now(),
            form: "form",
            subject: None,
            schema: "/v1/forms/form/schema",
            trace_parent: None,
            fingerprint: Some("abc"),
        };
        let record = text(&topic, "{}");
        let record = OutgoingRecord {
            headers: submission.headers(),
            timestamp_ms: record.timestamp_ms.map(|time| time + hours * HOUR_MS),
            ..record
        };
        producer.send(record).await.unwrap();
    }
    assert_eq!(
        recalled(&client, &topic, 3, None),
        [1, 2],
        "the day before the record at 3, not before now"
    );
    assert_eq!(recalled(&client, &topic, 1, None), [] as [i64; 0]);
}

#[tokio::test]
async fn a_reader_waits_for_open_transactions_and_reads_their_records() {
    let client = new_client().await;
    let topic = new_topic(&client, 1).await;
    producer(&client).send(text(&topic, "first")).await.unwrap();
    let mut group = join(&client, &unique("group"), "member", &topic);
    let first = next_record(&mut group);
    let (id, other) = (unique("worker"), unique("worker"));
    let mut committed = TransactionalProducer::open(&client, &id, "").unwrap();
    let mut aborted = TransactionalProducer::open(&client, &other, "").unwrap();
    let mut open = committed.begin().unwrap();
    open.send(text(&topic, "second")).unwrap();
    aborted
        .begin()
        .unwrap()
        .send(text(&topic, "never"))
        .unwrap();
    let progress = GroupProgress::open(&client, vec![stage(&topic)]).unwrap();
    formline_testing::eventually(SOON, async || progress.ends(0).unwrap()[0].2 == 3).await;

    let mut reader = Reader::open(&client, &topic, &[0], StartOffset::Beginning).unwrap();
    let mut read = Vec::new();
    let mut advance = |reader: &mut Reader| {
        let limit = Duration::from_millis(50);
        reader.advance(limit, |record| read.push(value(&record)))
    };
    assert!(!advance(&mut reader).unwrap(), "two transactions are open");
    open.commit(&[(first.partition, 1)], &group).unwrap();
    assert!(!advance(&mut reader).unwrap(), "one transaction is open");
    drop(aborted);
    drop(TransactionalProducer::open(&client, &other, "").unwrap());
    while !advance(&mut reader).unwrap() {}
    assert_eq!(read, ["first", "second"]);
}

fn stage(topic: &str) -> Stage {
    Stage {
        group: unique("group"),
        topics: vec![topic.to_owned()],
    }
}

#[tokio::test]
async fn a_reader_starts_at_the_given_offset_and_reports_a_missing_topic() {
    let client = new_client().await;
    let topic = new_topic(&client, 1).await;
    let producer = producer(&client);
    producer.send(text(&topic, "old")).await.unwrap();
    let mut reader = Reader::open(&client, &topic, &[], StartOffset::End).unwrap();
    reader
        .read_to_end(|| true, |record| panic!("{record:?} is old"))
        .unwrap();
    let late = StartOffset::Timestamp(1_800_000_000_000);
    Reader::open(&client, &topic, &[], late)
        .unwrap()
        .read_to_end(|| true, |record| panic!("{record:?} is before the time"))
        .unwrap();
    let early = StartOffset::Timestamp(1_600_000_000_000);
    let mut count = 0;
    Reader::open(&client, &topic, &[], early)
        .unwrap()
        .read_to_end(|| true, |_| count += 1)
        .unwrap();
    assert_eq!(count, 1);

    let missing = Reader::open(&client, &unique("missing"), &[], StartOffset::Beginning);
    assert!(matches!(missing, Err(ClientError::NoTopic(_))));
}
