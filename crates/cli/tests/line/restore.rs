//! A step with much state starts again: after a stop, after a kill, and after its files are lost.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{
    Client, EventId, Producer,
    app::{self, App, UnknownPlugins},
    event::{Submission, header},
    producer,
    progress::Progress,
    record::{Headers, Outgoing},
    topic,
};
use formline_testing::{Process, eventually, free_port, kafka, plugins_dir, unique};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tempfile::TempDir;

use super::{
    rebalance::read,
    vocabulary::{PATIENCE, copy_app, is_drill, repository, student},
};

/// The step `analytics` as a process of its own, which can be started again.
struct Counting {
    app: String,
    folder: TempDir,
    client: Client,
    bootstrap: String,
    producer: Producer,
    http: reqwest::Client,
    process: Option<Process>,
    admin: String,
    submitted: usize,
}

/// What a start took.
#[derive(Debug)]
struct Start {
    time: Duration,
    /// Records of the changelog that it has read.
    restored: usize,
}

/// Records under way at once while the changelog is filled.
const AT_ONCE: usize = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_start_takes_as_long_as_what_the_files_do_not_contain() {
    let keys = if is_drill() { 1_000_000 } else { 50_000 };
    let partitions = usize::try_from(topic::DEFAULT_PARTITIONS).unwrap();
    let mut counting = Counting::new(kafka().await.bootstrap()).await;
    counting.fill(keys).await;

    let first = counting.start().await;
    println!("{keys} keys from kafka: {first:?}");
    assert_eq!(first.restored, keys);
    counting.submit(100).await;
    counting.stop().await;

    let after_stop = counting.start().await;
    println!("after a stop: {after_stop:?}");
    assert!(after_stop.restored <= partitions, "{after_stop:?}");
    counting.submit(100).await;
    counting.kill();

    let after_kill = counting.start().await;
    println!("after kill -9: {after_kill:?}");
    assert!(after_kill.restored > 0, "{after_kill:?}");
    assert!(after_kill.restored <= 300, "only the tail: {after_kill:?}");
    counting.stop().await;

    fs::remove_dir_all(counting.files()).unwrap();
    let without_files = counting.start().await;
    println!("without files: {without_files:?}");
    assert!(without_files.restored >= keys, "{without_files:?}");
    if is_drill() {
        // With few keys the machine's other work decides.
        assert!(after_stop.time < Duration::from_secs(2), "{after_stop:?}");
        assert!(after_kill.time < without_files.time, "{after_kill:?}");
        let log = counting.process().log();
        assert!(log.contains("restoring state: "), "no progress is shown");
    }
    counting.submit(100).await;
    counting.assert_counted();
    counting.stop().await;
}

// === impl Counting ===

impl Counting {
    async fn new(bootstrap: &str) -> Self {
        let (app, folder) = (unique("student-data"), tempfile::tempdir().unwrap());
        let from = repository().join("apps/student-data");
        copy_app(&from, &folder.path().join("app"), &app);
        let client = Client::new(bootstrap, BTreeMap::new());
        let options = producer::Options {
            delivery_timeout: Duration::from_secs(60),
            queue_messages: 100_000,
            queue_kib: 65_536,
        };
        let counting = Self {
            app,
            folder,
            producer: Producer::open(&client, options).unwrap(),
            client,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            bootstrap: bootstrap.to_owned(),
            process: None,
            admin: String::new(),
            submitted: 0,
        };
        let mut topics = counting.load().topics.clone();
        // Without plug-ins nobody knows which steps keep state.
        topics.push(topic::Topic {
            name: counting.changelog(),
            partitions: topic::DEFAULT_PARTITIONS,
            config: [("cleanup.policy".to_owned(), "compact".to_owned())].into(),
        });
        topic::apply(&counting.client, &topics).await.unwrap();
        counting
    }

    fn load(&self) -> Arc<App> {
        let folders = [self.folder.path().join("app")];
        let mut apps = app::load(&folders, &UnknownPlugins, &app::process_environment).unwrap();
        apps.remove(0)
    }

    fn changelog(&self) -> String {
        topic::state(&self.app, "analytics")
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join("data/state")
    }

    /// Writes the changelog of a step that has been at work for long.
    async fn fill(&self, keys: usize) {
        let (topic, generation) = (self.changelog(), EventId::new().to_string());
        let (topic, generation) = (topic.as_str(), generation.as_str());
        let value = "x".repeat(100);
        let write = |n: usize| {
            let value = value.as_str();
            async move {
                // The name of the store behind its length, then the key.
                let key = format!("\u{6}countsfilled/{n}");
                let partition = n % usize::try_from(topic::DEFAULT_PARTITIONS).unwrap();
                let record = Outgoing {
                    topic,
                    partition: Some(i32::try_from(partition).unwrap()),
                    key: Some(key.as_bytes()),
                    value: Some(value.as_bytes()),
                    headers: Headers::with_capacity(1).with(header::GENERATION, generation),
                    timestamp_ms: None,
                };
                self.producer.send(record).await.unwrap();
            }
        };
        let writing = stream::iter((0..keys).map(write));
        writing
            .for_each_concurrent(AT_ONCE, |written| written)
            .await;
    }

    async fn start(&mut self) -> Start {
        let begun = Instant::now();
        self.admin = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        command
            .args(["process", "--step", "analytics"])
            .args(["--admin", &self.admin, "--bootstrap", &self.bootstrap])
            .arg("--app")
            .arg(self.folder.path().join("app"))
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .arg("--plugins")
            .arg(plugins_dir())
            .env("FORMLINE_INSTANCE", "test");
        let process = self.process.insert(Process::spawn(&mut command));
        process.wait_ready(&self.admin).await;
        Start {
            time: begun.elapsed(),
            restored: self.restored().await,
        }
    }

    async fn restored(&self) -> usize {
        let url = format!("http://{}/metrics", self.admin);
        let answer = self.http.get(url).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let mut lines = text.lines();
        let found = lines.find(|line| line.starts_with("formline_step_restored_records_total{"));
        let value = found.and_then(|line| line.split(' ').next_back()?.parse().ok());
        value.unwrap_or(0)
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    async fn stop(&mut self) {
        let status = self.process().terminate().await;
        assert!(status.success(), "{}", self.process().log());
    }

    fn kill(&mut self) {
        self.process().kill9();
    }

    /// Submits as ingest would, and waits until the step has passed it all.
    async fn submit(&mut self, count: usize) {
        for n in 0..count {
            let (key, value) = (n.to_string(), student(n).to_string());
            let submission = Submission {
                id: EventId::new(),
                time: Timestamp::now(),
                form: &self.app,
                subject: Some(&key),
                schema: "/v1/forms/students/schema",
                trace_parent: None,
                fingerprint: None,
            };
            let record = Outgoing {
                topic: &self.app,
                partition: None,
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: submission.headers(),
                timestamp_ms: None,
            };
            self.producer.send(record).await.unwrap();
        }
        self.submitted += count;
        let app = self.load();
        let step = app.steps.iter().find(|step| step.name == "analytics");
        let progress = Progress::open(&self.client, vec![step.unwrap().stage()]).unwrap();
        let ends = progress.ends_to_pass(0).unwrap();
        eventually(PATIENCE, async || progress.has_passed(0, &ends).unwrap()).await;
    }

    /// The last count of each key together: what was counted before each start is still known.
    fn assert_counted(&self) {
        let mut last = BTreeMap::new();
        for record in read(&self.client, &format!("{}.counts", self.app)) {
            let count: serde_json::Value = serde_json::from_slice(record.value().unwrap()).unwrap();
            let key = record.key().unwrap().to_vec();
            last.insert(key, count["submissions"].as_u64().unwrap());
        }
        assert_eq!(last.values().sum::<u64>(), self.submitted as u64);
    }
}
