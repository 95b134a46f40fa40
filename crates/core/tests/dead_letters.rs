//! Dead letters on a real Kafka: each is resolved once, also by concurrent replayers.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, time::Duration};

use formline_core::{
    Client, Producer, Record,
    dead_letter::{
        headers::DeadLetterRecord,
        index::{ClosedReason, DeadLetterIndex},
        letter::{DeadLetter, DeadLetterOwner},
        replay::{ReplayError, Replayer},
    },
    event::{self, dedup::KeyedSubmission, header},
    kafka::{
        producer::ProducerOptions,
        reader::{Reader, StartOffset},
        record::{Headers, OutgoingRecord},
        topic::{self, Topic},
    },
};
use formline_testing::{kafka, unique};

/// A step that has an input topic with two partitions and has dead-lettered some of its records.
struct TestStep {
    client: Client,
    producer: Producer,
    owner: DeadLetterOwner,
}

impl TestStep {
    async fn new() -> Self {
        Self::with_max_bytes("1048576").await
    }

    /// Limits the size of a record of the input topic.
    async fn with_max_bytes(max_bytes: &str) -> Self {
        let client = Client::new(kafka().await.bootstrap(), BTreeMap::new());
        let app = unique("app");
        let owner = DeadLetterOwner {
            topics: vec![format!("{app}.in")],
            app,
            step: "work".to_owned(),
        };
        let topic = |name: &str, partitions, bytes: &str| Topic {
            name: name.to_owned(),
            partitions,
            // The records have an old timestamp; Kafka must not delete them.
            config: [("max.message.bytes", bytes), ("retention.ms", "-1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let topics = [
            topic(&owner.topics[0], 2, max_bytes),
            topic(&owner.topic(), 1, "2097152"),
        ];
        topic::apply(&client, &topics).await.unwrap();
        let options = ProducerOptions {
            delivery_timeout: Duration::from_secs(20),
            queue_messages: 1000,
            queue_kib: 4096,
        };
        Self {
            producer: Producer::open(&client, options).unwrap(),
            client,
            owner,
        }
    }

    /// Writes a record to partition 1 of the input.
    async fn submit(&self, value: &[u8], headers: Headers) {
        let record = OutgoingRecord {
            topic: &self.owner.topics[0],
            partition: Some(1),
            key: Some(b"key\xff"),
            value: Some(value),
            headers,
            timestamp_ms: Some(1_700_000_000_000),
        };
        self.producer.send(record).await.unwrap();
    }

    /// Dead-letters a record, like the step does.
    async fn dead_letter(&self, record: &Record) {
        let letter = DeadLetterRecord {
            record,
            step: &self.owner.step,
            reason: "broken",
            detail: "it is broken",
            attempts: 2,
            plugin: Some("work@1.0.0"),
        };
        let topic = self.owner.topic();
        self.producer.send(letter.outgoing(&topic)).await.unwrap();
    }

    async fn submit_and_dead_letter(&self, value: &[u8], headers: Headers) {
        self.submit(value, headers).await;
        self.dead_letter(self.input().last().unwrap()).await;
    }

    fn input(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let topic = &self.owner.topics[0];
        let mut reader = Reader::open(&self.client, topic, &[], StartOffset::Beginning).unwrap();
        let keep = |record| records.push(record);
        reader.read_to_end(|| true, keep).unwrap();
        records
    }

    fn index(&self) -> DeadLetterIndex {
        DeadLetterIndex::read(&self.client, self.owner.clone()).unwrap()
    }

    fn open_letters(&self) -> Vec<DeadLetter> {
        let index = self.index();
        let letters = index.dead_letters(&self.client, 0).unwrap();
        let letters = letters.map(Result::unwrap);
        letters
            .filter(|letter| index.closed(letter.id.offset).is_none())
            .collect()
    }

    fn replayer(&self) -> Replayer {
        Replayer::open(&self.client, self.owner.clone()).unwrap()
    }
}

fn headers() -> Headers {
    Headers::with_capacity(4)
        .with(header::ID, "an-id")
        .with("twice", "1")
        .with("twice", [0xff, 0x00])
        .with(header::SOURCE, "/forms/students")
}

fn pairs(record: &Record) -> Vec<(String, Vec<u8>)> {
    let headers = record.headers();
    headers
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_the_same_record_for_its_group_only_and_happens_once() {
    let step = TestStep::new().await;
    step.submit_and_dead_letter(b"value\xff", headers()).await;
    let letter = step.open_letters().remove(0);
    assert_eq!(letter.id.to_string(), format!("{}/work@0", step.owner.app));
    assert_eq!((letter.reason(), letter.attempts()), ("broken", 2));
    assert_eq!(letter.plugin(), Some("work@1.0.0"));
    assert_eq!(letter.form(), Some("students"));

    let mut replayer = step.replayer();
    replayer.replay(&letter).unwrap();
    let records = step.input();
    let (first, replay) = (&records[0], &records[1]);
    assert_eq!(replay.partition, first.partition);
    assert_eq!((replay.key(), replay.value()), (first.key(), first.value()));
    let mut expected = pairs(first);
    let group = step.owner.group();
    expected.push((header::REPLAY_FOR.to_owned(), group.clone().into_bytes()));
    assert_eq!(pairs(replay), expected);
    assert!(event::is_for(replay, &group) && !event::is_for(replay, "another"));
    assert!(event::is_for(first, "another"));

    for mut replayer in [replayer, step.replayer()] {
        let error = replayer.replay(&letter).unwrap_err();
        assert!(matches!(error, ReplayError::Closed { .. }), "{error}");
        assert!(error.to_string().contains("was replayed at"), "{error}");
        assert!(replayer.discard(&letter).is_err());
    }
    assert_eq!(step.input().len(), 2);
    assert!(step.open_letters().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_replayer_fences_the_first() {
    let step = TestStep::new().await;
    step.submit_and_dead_letter(b"value", headers()).await;
    let letter = step.open_letters().remove(0);
    let (mut first, mut second) = (step.replayer(), step.replayer());
    let error = first.replay(&letter).unwrap_err();
    assert!(matches!(error, ReplayError::Busy { .. }), "{error}");
    assert_eq!(step.open_letters().len(), 1, "nothing was written");
    second.replay(&letter).unwrap();
    assert_eq!(step.input().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_replay_can_be_replayed_again() {
    let step = TestStep::new().await;
    step.submit_and_dead_letter(b"value", headers()).await;
    let first = pairs(&step.input()[0]);
    for round in 1..=2 {
        let letter = step.open_letters().remove(0);
        let headers = letter.headers();
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_vec()));
        assert_eq!(headers.collect::<Vec<_>>(), first, "round {round}");
        step.replayer().replay(&letter).unwrap();
        step.dead_letter(step.input().last().unwrap()).await;
    }
    assert_eq!(step.open_letters().len(), 1);
    assert_eq!(step.input().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_dead_lettered_twice_is_one_dead_letter() {
    let step = TestStep::new().await;
    step.submit_and_dead_letter(b"value", headers()).await;
    step.dead_letter(&step.input()[0]).await;
    let open = step.open_letters();
    assert_eq!(open.len(), 1);
    assert_eq!(step.index().closed(1), Some(&ClosedReason::Duplicate));
    step.replayer().discard(&open[0]).unwrap();
    assert!(step.open_letters().is_empty());
    let found = step.index().find(&step.client, 1).unwrap().unwrap();
    let error = step.replayer().replay(&found).unwrap_err();
    assert!(error.to_string().contains("repeats an earlier"), "{error}");
    assert_eq!(step.input().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_found_by_offset_and_other_records_are_ignored() {
    let step = TestStep::new().await;
    let topic = step.owner.topic();
    let foreign = OutgoingRecord {
        topic: &topic,
        partition: None,
        key: None,
        value: Some(b"foreign"),
        headers: Headers::with_capacity(0),
        timestamp_ms: None,
    };
    step.producer.send(foreign).await.unwrap();
    step.submit_and_dead_letter(b"one", headers()).await;
    step.submit_and_dead_letter(b"two", headers()).await;
    let index = step.index();
    let find = |offset| index.find(&step.client, offset).unwrap();
    assert_eq!(find(2).unwrap().value(), Some(b"two".as_slice()));
    for offset in [0, 3, i64::MAX] {
        assert!(find(offset).is_none(), "{offset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_the_step_no_longer_reads_gets_no_replay() {
    let mut step = TestStep::new().await;
    step.submit_and_dead_letter(b"value", headers()).await;
    let letter = step.open_letters().remove(0);
    step.owner.topics = vec!["another".to_owned()];
    let error = step.replayer().replay(&letter).unwrap_err();
    assert!(matches!(error, ReplayError::NotRead { .. }), "{error}");
    assert_eq!(step.open_letters().len(), 1);
    step.replayer().discard(&letter).unwrap();
    assert!(step.open_letters().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_for_a_replay_stays_a_dead_letter() {
    let step = TestStep::with_max_bytes("1000").await;
    let largest = vec![b'x'; 850];
    step.submit_and_dead_letter(&largest, headers()).await;
    let letter = step.open_letters().remove(0);
    let error = step.replayer().replay(&letter).unwrap_err();
    assert!(matches!(error, ReplayError::Rejected { .. }), "{error}");
    assert_eq!(step.open_letters().len(), 1);
    assert_eq!(step.input().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_its_identity_and_does_not_count_as_a_duplicate() {
    let step = TestStep::new().await;
    step.submit_and_dead_letter(b"foreign", Headers::with_capacity(0))
        .await;
    let keyed = headers().with(header::FINGERPRINT, "a-fingerprint");
    let keyed = keyed.with(header::ID, "019ab111-0000-8000-8000-000000000000");
    step.submit_and_dead_letter(b"keyed", keyed).await;
    let mut replayer = step.replayer();
    for letter in step.open_letters() {
        replayer.replay(&letter).unwrap();
    }
    let records = step.input();
    assert_eq!(event::identity(&records[2]), event::identity(&records[0]));
    assert!(KeyedSubmission::from_record(&records[1]).is_some());
    assert!(KeyedSubmission::from_record(&records[3]).is_none());
}
