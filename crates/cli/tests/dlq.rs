//! `formline dlq` as an operator uses it, on a real Kafka.
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

/// apps/demo under a name of its own, with dead letters of its step `rows` and its sink `sheet`.
struct Demo {
    name: String,
    folder: TempDir,
    bootstrap: String,
    client: Client,
    producer: Producer,
}

impl Demo {
    /// The app, with its topics.
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
        let demo = Self {
            name,
            folder,
            bootstrap,
            producer: Producer::open(&client, options).unwrap(),
            client,
        };
        let empty = demo.dlq(&["list"]);
        assert_eq!(text(&empty), "no dead letters\n", "without topics too");
        let names = [demo.name.clone(), topic::dead_letter(&demo.name, "rows")];
        for name in names {
            let (partitions, config) = (1, BTreeMap::new());
            let topic = topic::Topic {
                name,
                partitions,
                config,
            };
            topic::apply(&demo.client, &[topic]).await.unwrap();
        }
        demo
    }

    fn dlq(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        command
            .arg("dlq")
            .args(arguments)
            .arg("--app")
            .arg(self.folder.path());
        // The plug-in folder is of no interest to it.
        let command = command.args(["--bootstrap", &self.bootstrap]);
        command.env("FORMLINE_PLUGINS", "nowhere").output().unwrap()
    }

    /// The name of a letter of the step `rows`.
    fn letter(&self, offset: usize) -> String {
        format!("{}/rows@{offset}", self.name)
    }

    /// Submits to a form, and parks what was submitted.
    async fn park(&self, form: &str, value: &str, reason: &str) {
        let record = Outgoing {
            topic: &self.name,
            partition: Some(0),
            key: Some(b"a-key"),
            value: Some(value.as_bytes()),
            headers: Headers::with_capacity(2)
                .with(header::ID, unique("id"))
                .with(header::SOURCE, event::source(form)),
            timestamp_ms: None,
        };
        self.producer.send(record).await.unwrap();
        let record = self.records(&self.name).pop().unwrap();
        let letter = DeadLetter {
            record: &record,
            step: "rows",
            reason,
            detail: "a sentence\nand\u{1b}[2J a backtrace",
            attempts: 2,
            plugin: Some("rows@0.1.0"),
        };
        let topic = topic::dead_letter(&self.name, "rows");
        self.producer.send(letter.outgoing(&topic)).await.unwrap();
    }

    fn records(&self, topic: &str) -> Vec<Record> {
        let mut records = Vec::new();
        let mut reader = Reader::open(&self.client, topic, &[], From::Beginning).unwrap();
        reader
            .read_to_end(|| true, |record| records.push(record))
            .unwrap();
        records
    }

    /// The values that were written to the form's topic again.
    fn replayed(&self) -> Vec<String> {
        let records = self.records(&self.name);
        let replays = records
            .iter()
            .filter(|record| record.header(header::REPLAY_FOR).is_some());
        replays
            .map(|record| String::from_utf8(record.value().unwrap().to_vec()).unwrap())
            .collect()
    }
}

fn text(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    both.join("")
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(output));
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn three_letters() -> Demo {
    let demo = Demo::new().await;
    demo.park("one", "{\"n\":1}", "trap").await;
    demo.park("two", "{\"n\":2}", "trap").await;
    demo.park("two", "no json", "malformed").await;
    demo
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_counted_listed_and_shown() {
    let demo = three_letters().await;
    let counted = text(&demo.dlq(&["list"]));
    assert!(
        counted.contains(&format!("{}/rows: 3 dead letters", demo.name)),
        "{counted}"
    );
    assert!(
        counted.contains("2  trap") && counted.contains("1  malformed"),
        "{counted}"
    );
    let summary = lines(&demo.dlq(&["list", "--json"])).remove(0);
    assert_eq!(
        (&summary["count"], &summary["reasons"]["trap"]),
        (&3.into(), &2.into())
    );

    for (filter, expected) in [
        (&["--reason", "trap"][..], &[0, 1][..]),
        (&["--form", "two"], &[1, 2]),
        (&["--form", "two", "--reason", "trap"], &[1]),
        (&["--step", "rows", "--since", "1h"], &[0, 1, 2]),
        (&["--until", "1h"], &[]),
        (&["--since", "2999-01-01T00:00:00Z"], &[]),
    ] {
        let listed = lines(&demo.dlq(&[&["list", "--json"], filter].concat()));
        let names: Vec<_> = listed
            .iter()
            .map(|letter| letter["letter"].as_str().unwrap())
            .collect();
        let expected: Vec<_> = expected.iter().map(|offset| demo.letter(*offset)).collect();
        assert_eq!(names, expected, "{filter:?}");
    }
    let line = text(&demo.dlq(&["list", "--reason", "malformed"]));
    assert!(
        line.starts_with(&demo.letter(2)) && line.contains("2 attempts  a sentence\n"),
        "{line}"
    );

    let shown = text(&demo.dlq(&["show", &demo.letter(1)]));
    for part in [
        "state     open",
        "reason    trap",
        "key       a-key",
        "ce_source: /forms/two",
        "  \"n\": 2\n",
    ] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
    assert!(
        !shown.contains('\u{1b}'),
        "it commands the terminal: {shown}"
    );
    let shown = lines(&demo.dlq(&["show", &demo.letter(2), "--json"])).remove(0);
    assert_eq!(
        (&shown["value"], &shown["topic"]),
        (&"no json".into(), &demo.name.as_str().into())
    );
    assert_eq!(shown["headers"]["ce_source"], "/forms/two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_replayed_once_and_a_dry_run_changes_nothing() {
    let demo = three_letters().await;
    let (second, third) = (demo.letter(1), demo.letter(2));
    let tried = demo.dlq(&["replay", &second, "--dry-run"]);
    assert!(
        text(&tried).contains("1 of 1 dead letters would be replayed"),
        "{}",
        text(&tried)
    );
    assert!(demo.replayed().is_empty());

    let done = demo.dlq(&["replay", &second, &second]);
    assert_eq!(text(&done), "1 of 1 dead letters were replayed\n");
    assert_eq!(demo.replayed(), ["{\"n\":2}"]);
    for arguments in [
        &["replay", &*second][..],
        &["discard", &second],
        &["replay", &second, "--dry-run"],
    ] {
        let refused = demo.dlq(arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(
            text(&refused).contains("was replayed at"),
            "{}",
            text(&refused)
        );
    }
    let shown = text(&demo.dlq(&["show", &second]));
    assert!(shown.contains("state     was replayed at"), "{shown}");

    let discarded = lines(&demo.dlq(&["discard", &third, "--json"])).remove(0);
    assert_eq!(
        (&discarded["letter"], &discarded["done"]),
        (&third.as_str().into(), &"discarded".into())
    );
    assert_eq!(
        lines(&demo.dlq(&["list", "--step", "rows", "--json"])).len(),
        1
    );
    assert_eq!(demo.replayed().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_choose_letters_and_the_rate_is_kept() {
    let demo = three_letters().await;
    let begun = std::time::Instant::now();
    let done = demo.dlq(&["replay", "--reason", "trap", "--rate", "1"]);
    assert_eq!(text(&done), "2 of 2 dead letters were replayed\n");
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(demo.replayed(), ["{\"n\":1}", "{\"n\":2}"]);
    let done = demo.dlq(&["discard", "--since", "1h", "--yes"]);
    assert_eq!(text(&done), "1 of 1 dead letters were discarded\n");
    assert_eq!(text(&demo.dlq(&["list"])), "no dead letters\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_use_and_missing_letters_are_explained() {
    let demo = Demo::new().await;
    let (missing, stranger) = (demo.letter(7), "nobody/rows@1");
    for (arguments, code, part) in [
        (&["replay"][..], 64, "--reason"),
        (&["replay", "rows"], 64, "APP/STEP@OFFSET"),
        (
            &["replay", &missing, "--reason", "trap"],
            64,
            "cannot be used with",
        ),
        (&["replay", "--reason", "trap", "--rate", "0"], 64, "--rate"),
        (
            &["list", "--since", "soon"],
            64,
            "or a duration such as 90s",
        ),
        (&["list", "--step", "nope"], 1, "no app has a step `nope`"),
        (&["show", &missing], 1, "there is no dead letter"),
        (&["replay", &missing], 1, "there is no dead letter"),
        (
            &["show", stranger],
            1,
            "no app has a step or sink `nobody/rows`",
        ),
    ] {
        let refused = demo.dlq(arguments);
        let told = text(&refused);
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(part), "{arguments:?}: {told}");
    }
}
