//! Dead letters on a real Kafka: each is settled once, whoever is at it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, time::Duration};

use formline_core::{
    Client, Producer, Record,
    dead_letter::DeadLetter,
    duplicates::Keyed,
    event::{self, header},
    ledger::{Closed, DeadLetters, Ledger},
    letter::Letter,
    producer,
    reader::{From, Reader},
    record::{Headers, Outgoing},
    settlement::{Error, Settler},
    topic::{self, Topic},
};
use formline_testing::{kafka, unique};

/// A step that has an input topic of two partitions and has parked some of its records.
struct Parked {
    client: Client,
    producer: Producer,
    owner: DeadLetters,
}

impl Parked {
    async fn new() -> Self {
        Self::with("1048576").await
    }

    /// The input topic takes records of so many bytes.
    async fn with(max_bytes: &str) -> Self {
        let client = Client::new(kafka().await.bootstrap(), BTreeMap::new());
        let app = unique("app");
        let owner = DeadLetters {
            topics: vec![format!("{app}.in")],
            app,
            step: "work".to_owned(),
        };
        let topic = |name: &str, partitions, bytes: &str| Topic {
            name: name.to_owned(),
            partitions,
            // The records are old, and Kafka is not to delete them for it.
            config: [("max.message.bytes", bytes), ("retention.ms", "-1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let topics = [
            topic(&owner.topics[0], 2, max_bytes),
            topic(&owner.topic(), 1, "2097152"),
        ];
        topic::apply(&client, &topics).await.unwrap();
        let options = producer::Options {
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
        let record = Outgoing {
            topic: &self.owner.topics[0],
            partition: Some(1),
            key: Some(b"key\xff"),
            value: Some(value),
            headers,
            timestamp_ms: Some(1_700_000_000_000),
        };
        self.producer.send(record).await.unwrap();
    }

    /// What the step does when it gives a record up.
    async fn park(&self, record: &Record) {
        let letter = DeadLetter {
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

    async fn submit_and_park(&self, value: &[u8], headers: Headers) {
        self.submit(value, headers).await;
        self.park(self.input().last().unwrap()).await;
    }

    fn input(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let topic = &self.owner.topics[0];
        let mut reader = Reader::open(&self.client, topic, &[], From::Beginning).unwrap();
        let keep = |record| records.push(record);
        reader.read_to_end(|| true, keep).unwrap();
        records
    }

    fn ledger(&self) -> Ledger {
        Ledger::read(&self.client, self.owner.clone()).unwrap()
    }

    fn open_letters(&self) -> Vec<Letter> {
        let ledger = self.ledger();
        let letters = ledger.letters(&self.client, 0).unwrap();
        let letters = letters.map(Result::unwrap);
        letters
            .filter(|letter| ledger.closed(letter.id.offset).is_none())
            .collect()
    }

    fn settler(&self) -> Settler {
        Settler::open(&self.client, self.owner.clone()).unwrap()
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
async fn a_replay_is_the_record_byte_for_byte_for_its_group_alone_and_happens_once() {
    let parked = Parked::new().await;
    parked.submit_and_park(b"value\xff", headers()).await;
    let letter = parked.open_letters().remove(0);
    assert_eq!(
        letter.id.to_string(),
        format!("{}/work@0", parked.owner.app)
    );
    assert_eq!((letter.reason(), letter.attempts()), ("broken", 2));
    assert_eq!(letter.plugin(), Some("work@1.0.0"));
    assert_eq!(letter.form(), Some("students"));

    let mut settler = parked.settler();
    settler.replay(&letter).unwrap();
    let records = parked.input();
    let (first, replay) = (&records[0], &records[1]);
    assert_eq!(replay.partition, first.partition);
    assert_eq!((replay.key(), replay.value()), (first.key(), first.value()));
    let mut expected = pairs(first);
    let group = parked.owner.group();
    expected.push((header::REPLAY_FOR.to_owned(), group.clone().into_bytes()));
    assert_eq!(pairs(replay), expected);
    assert!(event::is_for(replay, &group) && !event::is_for(replay, "another"));
    assert!(event::is_for(first, "another"));

    for mut settler in [settler, parked.settler()] {
        let refused = settler.replay(&letter).unwrap_err();
        assert!(matches!(refused, Error::Closed { .. }), "{refused}");
        assert!(refused.to_string().contains("was replayed at"), "{refused}");
        assert!(settler.discard(&letter).is_err());
    }
    assert_eq!(parked.input().len(), 2);
    assert!(parked.open_letters().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_settle_at_once_the_second_cuts_the_first_one_off() {
    let parked = Parked::new().await;
    parked.submit_and_park(b"value", headers()).await;
    let letter = parked.open_letters().remove(0);
    let (mut first, mut second) = (parked.settler(), parked.settler());
    let refused = first.replay(&letter).unwrap_err();
    assert!(matches!(refused, Error::Busy { .. }), "{refused}");
    assert_eq!(parked.open_letters().len(), 1, "nothing was written");
    second.replay(&letter).unwrap();
    assert_eq!(parked.input().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_fails_again_is_a_letter_to_be_replayed_again() {
    let parked = Parked::new().await;
    parked.submit_and_park(b"value", headers()).await;
    let first = pairs(&parked.input()[0]);
    for round in 1..=2 {
        let letter = parked.open_letters().remove(0);
        let headers = letter.headers();
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_vec()));
        assert_eq!(headers.collect::<Vec<_>>(), first, "round {round}");
        parked.settler().replay(&letter).unwrap();
        parked.park(parked.input().last().unwrap()).await;
    }
    assert_eq!(parked.open_letters().len(), 1);
    assert_eq!(parked.input().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sink_has_parked_twice_is_one_letter() {
    let parked = Parked::new().await;
    parked.submit_and_park(b"value", headers()).await;
    parked.park(&parked.input()[0]).await;
    let open = parked.open_letters();
    assert_eq!(open.len(), 1);
    assert_eq!(parked.ledger().closed(1), Some(&Closed::Repeated));
    parked.settler().discard(&open[0]).unwrap();
    assert!(parked.open_letters().is_empty());
    let found = parked.ledger().find(&parked.client, 1).unwrap().unwrap();
    let refused = parked.settler().replay(&found).unwrap_err();
    assert!(
        refused.to_string().contains("repeats an earlier"),
        "{refused}"
    );
    assert_eq!(parked.input().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_found_by_offset_and_other_records_are_none() {
    let parked = Parked::new().await;
    let topic = parked.owner.topic();
    let strange = Outgoing {
        topic: &topic,
        partition: None,
        key: None,
        value: Some(b"somebody else's"),
        headers: Headers::with_capacity(0),
        timestamp_ms: None,
    };
    parked.producer.send(strange).await.unwrap();
    parked.submit_and_park(b"one", headers()).await;
    parked.submit_and_park(b"two", headers()).await;
    let ledger = parked.ledger();
    let find = |offset| ledger.find(&parked.client, offset).unwrap();
    assert_eq!(find(2).unwrap().value(), Some(b"two".as_slice()));
    for offset in [0, 3, i64::MAX] {
        assert!(find(offset).is_none(), "{offset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_nobody_reads_any_more_gets_no_replay() {
    let mut parked = Parked::new().await;
    parked.submit_and_park(b"value", headers()).await;
    let letter = parked.open_letters().remove(0);
    parked.owner.topics = vec!["another".to_owned()];
    let refused = parked.settler().replay(&letter).unwrap_err();
    assert!(matches!(refused, Error::NotRead { .. }), "{refused}");
    assert_eq!(parked.open_letters().len(), 1);
    parked.settler().discard(&letter).unwrap();
    assert!(parked.open_letters().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_has_no_room_for_its_address_stays_a_letter() {
    let parked = Parked::with("1000").await;
    let largest = vec![b'x'; 850];
    parked.submit_and_park(&largest, headers()).await;
    let letter = parked.open_letters().remove(0);
    let refused = parked.settler().replay(&letter).unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    assert_eq!(parked.open_letters().len(), 1);
    assert_eq!(parked.input().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_record_keeps_its_identity_and_a_keyed_one_is_no_repetition() {
    let parked = Parked::new().await;
    parked
        .submit_and_park(b"foreign", Headers::with_capacity(0))
        .await;
    let keyed = headers().with(header::FINGERPRINT, "a-fingerprint");
    let keyed = keyed.with(header::ID, "019ab111-0000-8000-8000-000000000000");
    parked.submit_and_park(b"keyed", keyed).await;
    let mut settler = parked.settler();
    for letter in parked.open_letters() {
        settler.replay(&letter).unwrap();
    }
    let records = parked.input();
    assert_eq!(event::identity(&records[2]), event::identity(&records[0]));
    assert!(Keyed::of(&records[1]).is_some());
    assert!(Keyed::of(&records[3]).is_none());
}
