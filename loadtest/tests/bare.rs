//! The bare programs do the work that they are compared with: they copy exactly once, and handle
//! HTTP requests.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use formline_core::{
    Client, Producer, Record,
    kafka::{
        producer::ProducerOptions,
        reader::{Reader, StartOffset},
        record::{Headers, OutgoingRecord},
        topic::{self, Topic},
    },
};
use formline_loadtest::bare::{
    copy_loop::{BATCH_RECORDS, CopyLoop},
    handler::PATH,
};
use formline_testing::{Process, eventually, free_port, kafka, unique};

const RECORDS: usize = 1_000;
const DEADLINE: Duration = Duration::from_secs(60);

/// The topics a, b and c of a test.
struct Chain {
    client: Client,
    topics: [String; 3],
}

// === impl Chain ===

impl Chain {
    async fn new() -> Self {
        let client = Client::new(kafka().await.bootstrap(), [].into());
        let topics = ["a", "b", "c"].map(unique);
        let declared = topics.clone().map(|name| Topic {
            partitions: if name.starts_with('c') { 1 } else { 6 },
            name,
            config: [].into(),
        });
        topic::apply(&client, &declared).await.unwrap();
        Self { client, topics }
    }

    /// Writes records numbered from `first` to the first topic.
    async fn write(&self, first: usize, count: usize) {
        let limits = ProducerOptions {
            delivery_timeout: DEADLINE,
            queue_messages: 10_000,
            queue_kib: 10_000,
        };
        let producer = Producer::open(&self.client, limits).unwrap();
        for number in first..first + count {
            let number = number.to_string();
            let record = OutgoingRecord {
                topic: &self.topics[0],
                partition: None,
                key: Some(number.as_bytes()),
                value: Some(b"a student"),
                headers: Headers::with_capacity(1).with("number", &number),
                timestamp_ms: None,
            };
            producer.send(record).await.unwrap();
        }
    }

    /// All committed records of the last topic.
    fn read(&self) -> Vec<Record> {
        let mut reader =
            Reader::open(&self.client, &self.topics[2], &[], StartOffset::Beginning).unwrap();
        let mut records = Vec::new();
        reader
            .read_to_end(|| true, |record| records.push(record))
            .unwrap();
        records
    }

    fn copy(&self, from: usize, stop: &AtomicBool) {
        let [from, to] = [from, from + 1].map(|topic| &self.topics[topic]);
        CopyLoop::open(self.client.bootstrap(), from, to, BATCH_RECORDS)
            .unwrap()
            .run(stop)
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_arrives_once_even_if_a_loop_is_replaced() {
    let chain = Chain::new().await;
    let (early, late) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            chain.copy(0, &early);
            chain.copy(0, &late);
        });
        scope.spawn(|| chain.copy(1, &late));
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            runtime.block_on(async {
                chain.write(0, RECORDS / 2).await;
                early.store(true, Ordering::Relaxed);
                chain.write(RECORDS / 2, RECORDS / 2).await;
                eventually(DEADLINE, async || chain.read().len() >= RECORDS).await;
                late.store(true, Ordering::Relaxed);
            });
        });
    });

    let mut counts = HashMap::<Vec<u8>, usize>::new();
    for record in chain.read() {
        assert_eq!(record.header("number"), record.key());
        assert_eq!(record.value(), Some(b"a student".as_slice()));
        *counts.entry(record.key().unwrap().to_vec()).or_default() += 1;
    }
    assert_eq!(counts.len(), RECORDS);
    assert!(counts.values().all(|&count| count == 1));
}

#[tokio::test]
async fn the_bare_handler_responds_on_one_connection_and_stops_on_sigterm() {
    let listen = format!("127.0.0.1:{}", free_port());
    let mut handler = Process::spawn(loadtest().args(["bare-handler", "--listen", &listen]));
    handler.wait_ready(&listen).await;

    let mut connection = TcpStream::connect(&listen).unwrap();
    for _ in 0..2 {
        write!(
            connection,
            "POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
        )
        .unwrap();
        let mut response = [0; 1024];
        let length = connection.read(&mut response).unwrap();
        let response = std::str::from_utf8(&response[..length]).unwrap();
        assert!(
            response.starts_with("HTTP/1.1 202 ") && response.contains("accepted"),
            "{response}"
        );
    }
    assert!(handler.terminate().await.success());
}

#[tokio::test]
async fn invalid_arguments_are_errors() {
    for (arguments, message) in [
        (
            ["bare-loops", "--bootstrap", "127.0.0.1:1", "--topic", "a"].as_slice(),
            "at least two topics",
        ),
        (
            &["bare-handler", "--listen", "192.0.2.1:1"],
            "failed to listen on 192.0.2.1:1",
        ),
        (
            &["bench", "--formline", "/nowhere"],
            "run this in the root of the repository",
        ),
        (
            &[
                "bare-store",
                "--bootstrap",
                "127.0.0.1:1",
                "--topic",
                "a",
                "--batch",
                "1",
            ],
            "set FORMLINE_POSTGRES_URL",
        ),
        (&["bench", "--rounds", "0"], "0 is not in 1..=100"),
    ] {
        let mut process = Process::spawn(loadtest().args(arguments));
        assert!(!process.wait().await.success(), "{arguments:?}");
        assert!(
            process.log().contains(message),
            "{arguments:?}: {}",
            process.log()
        );
    }
}

fn loadtest() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_formline-loadtest"));
    command.env_remove("FORMLINE_POSTGRES_URL");
    command
}
