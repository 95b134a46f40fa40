//! What `formline trace` finds of a submission whose events change state and are parked, on a real Kafka.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use formline_core::{
    Client, Producer, Record,
    cause::Cause,
    dead_letter::DeadLetter,
    event::{self, header},
    producer,
    reader::{From, Reader},
    record::{Headers, Outgoing},
    topic,
};
use formline_testing::{kafka, unique};
use serde_json::Value;
use tempfile::TempDir;

/// apps/demo under a name of its own, with a step `rows` that keeps state.
struct Demo {
    name: String,
    folder: TempDir,
    bootstrap: String,
    client: Client,
    producer: Producer,
}

impl Demo {
    async fn new() -> Self {
        let (name, folder) = (unique("demo"), tempfile::tempdir().unwrap());
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../apps/demo");
        for file in ["app.toml", "demo.schema.json"] {
            let text = fs::read_to_string(demo.join(file)).unwrap();
            let text = text
                .replace("\"demo", &format!("\"{name}"))
                .replace("/demo", &format!("/{name}"));
            fs::write(folder.path().join(file.replace("demo", &name)), text).unwrap();
        }
        let bootstrap = kafka().await.bootstrap().to_owned();
        let client = Client::new(&bootstrap, BTreeMap::new());
        let options = producer::Options {
            delivery_timeout: Duration::from_secs(30),
            queue_messages: 100,
            queue_kib: 1024,
        };
        let producer = Producer::open(&client, options).unwrap();
        let names = [
            name.clone(),
            format!("{name}.rows"),
            topic::state(&name, "rows"),
            topic::dead_letter(&name, "rows"),
        ];
        for name in names {
            let (partitions, config) = (1, BTreeMap::new());
            let topic = topic::Topic {
                name,
                partitions,
                config,
            };
            topic::apply(&client, &[topic]).await.unwrap();
        }
        Self {
            name,
            folder,
            bootstrap,
            client,
            producer,
        }
    }

    fn formline(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        let app = command.args(arguments).arg("--app").arg(self.folder.path());
        app.args(["--bootstrap", &self.bootstrap]).output().unwrap()
    }

    fn trace(&self, id: &str) -> Vec<Value> {
        let traced = self.formline(&["trace", id, "--since", "1h", "--json"]);
        let trace: Value = serde_json::from_slice(&traced.stdout).unwrap();
        trace["records"].as_array().unwrap().clone()
    }

    async fn send(&self, topic: &str, key: &[u8], value: Option<&str>, headers: Headers) {
        let record = Outgoing {
            topic,
            partition: Some(0),
            key: Some(key),
            value: value.map(str::as_bytes),
            headers,
            timestamp_ms: None,
        };
        self.producer.send(record).await.unwrap();
    }

    /// A submission, which gets the next offset.
    async fn submit(&self, id: &str) {
        let headers = Headers::with_capacity(2)
            .with(header::ID, id)
            .with(header::SOURCE, event::source("demo"));
        self.send(&self.name, b"key", Some("{}"), headers).await;
    }

    /// A change of state as a step writes it.
    async fn change(&self, key: &str, value: Option<&str>, offsets: &[i64]) {
        let cause = Cause::of(&self.name, offsets.iter().copied());
        let headers = Headers::with_capacity(1).with(header::CAUSE, cause.to_string());
        let key = [b"\x04seen", key.as_bytes()].concat();
        let changelog = topic::state(&self.name, "rows");
        self.send(&changelog, &key, value, headers).await;
    }

    async fn park_last(&self) {
        let record = self.last();
        let letter = DeadLetter {
            record: &record,
            step: "rows",
            reason: "trap",
            detail: "it failed",
            attempts: 2,
            plugin: None,
        };
        let topic = topic::dead_letter(&self.name, "rows");
        self.producer.send(letter.outgoing(&topic)).await.unwrap();
    }

    fn last(&self) -> Record {
        let mut last = None;
        let mut reader = Reader::open(&self.client, &self.name, &[], From::Beginning).unwrap();
        reader
            .read_to_end(|| true, |record| last = Some(record))
            .unwrap();
        last.unwrap()
    }
}

fn stages(records: &[Value]) -> Vec<&str> {
    let stages = records.iter().map(|record| record["stage"].as_str());
    stages.map(Option::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_state_are_found_by_the_events_that_caused_them() {
    let (demo, ids) = (Demo::new().await, [(); 3].map(|()| unique("id")));
    for id in &ids {
        demo.submit(id).await;
    }
    let derived = Headers::with_capacity(2)
        .with(header::ID, unique("id"))
        .with(header::ORIGIN, &ids[1]);
    demo.send(&format!("{}.rows", demo.name), b"key", Some("{}"), derived)
        .await;
    demo.change("of-all", Some("3"), &[0, 1, 2]).await;
    demo.change("of-two", None, &[0, 2]).await;
    demo.change("of-one", Some("1"), &[1]).await;
    // An older version wrote none, and somebody else anything.
    let changelog = topic::state(&demo.name, "rows");
    for headers in [
        Headers::with_capacity(0),
        Headers::with_capacity(1).with(header::CAUSE, "1"),
    ] {
        demo.send(&changelog, b"\x04seenx", Some(&ids[1]), headers)
            .await;
    }

    let second = demo.trace(&ids[1]);
    assert_eq!(stages(&second), ["form", "state", "state", "output"]);
    assert_eq!(second[1]["about"], "store seen: of-all set");
    assert_eq!(second[2]["about"], "store seen: of-one set");
    assert_eq!(second[1]["topic"], changelog.as_str());
    let third = demo.trace(&ids[2]);
    assert_eq!(stages(&third), ["form", "state", "state"]);
    assert_eq!(third[2]["about"], "store seen: of-two deleted");
    let text = demo.formline(&["trace", &ids[0], "--since", "1h"]);
    let text = String::from_utf8(text.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("of-two")).unwrap();
    assert!(
        line.starts_with("20") && line.contains("  state  "),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_says_what_became_of_it() {
    let (demo, id) = (Demo::new().await, unique("id"));
    demo.submit(&id).await;
    demo.park_last().await;
    let open = demo.trace(&id);
    assert_eq!(stages(&open), ["form", "dead letter"]);
    assert_eq!(
        (&open[1]["about"], &open[1]["settled"]),
        (&"trap".into(), &Value::Null)
    );

    let letter = format!("{}/rows@0", demo.name);
    assert!(demo.formline(&["dlq", "replay", &letter]).status.success());
    demo.park_last().await;
    let second = &demo.trace(&id)[3]["offset"];
    let letter = format!("{}/rows@{second}", demo.name);
    assert!(demo.formline(&["dlq", "discard", &letter]).status.success());
    let closed = demo.trace(&id);
    let expected = ["form", "dead letter", "form", "dead letter"];
    assert_eq!(stages(&closed), expected, "{closed:?}");
    assert_eq!(closed[1]["settled"]["how"], "replayed");
    assert_eq!(closed[3]["settled"]["how"], "discarded");
    let times = [
        &closed[0]["time"],
        &closed[1]["settled"]["time"],
        &closed[3]["settled"]["time"],
    ];
    assert!(
        times.is_sorted_by_key(|time| time.as_str().unwrap()),
        "{times:?}"
    );
    let text = demo.formline(&["trace", &id, "--since", "1h"]);
    let text = String::from_utf8(text.stdout).unwrap();
    for part in [
        "trap, was replayed at 20",
        "replayed for formline.",
        "trap, was discarded at 20",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
