//! A step with a large state restarts: after a stop, after a kill, and after its files were lost.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{
    Client, EventId, Producer,
    app::{self, App, UnknownPlugins},
    event::header,
    kafka::{
        group_progress::GroupProgress,
        record::{Headers, OutgoingRecord},
        topic,
    },
};
use formline_testing::{Process, eventually, free_port, kafka, plugins_dir, unique};
use futures::{StreamExt as _, stream};
use tempfile::TempDir;

use crate::support::{
    DEADLINE, TestSubmission, client, copy_student_data, formline, is_drill, producer, read_all,
    student,
};

/// The step `analytics` as a process of its own.
struct AnalyticsStep {
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

/// The duration of a start.
#[derive(Debug)]
struct StartCost {
    duration: Duration,
    /// Number of changelog records that were read.
    restored: usize,
}

/// Number of records in flight while the changelog is filled.
const IN_FLIGHT: usize = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_start_reads_only_what_the_state_files_lack() {
    let keys = if is_drill() { 1_000_000 } else { 50_000 };
    let partitions = usize::try_from(topic::DEFAULT_PARTITIONS).unwrap();
    let mut step = AnalyticsStep::new(kafka().await.bootstrap()).await;
    step.fill_changelog(keys).await;

    let first = step.start().await;
    println!("{keys} keys from kafka: {first:?}");
    assert_eq!(first.restored, keys);
    step.submit(100).await;
    step.stop().await;

    let after_stop = step.start().await;
    println!("after a stop: {after_stop:?}");
    assert!(after_stop.restored <= partitions, "{after_stop:?}");
    step.submit(100).await;
    step.kill();

    let after_kill = step.start().await;
    println!("after kill -9: {after_kill:?}");
    assert!(after_kill.restored > 0, "{after_kill:?}");
    assert!(after_kill.restored <= 300, "only the tail: {after_kill:?}");
    step.stop().await;

    fs::remove_dir_all(step.state_files()).unwrap();
    let without_files = step.start().await;
    println!("without files: {without_files:?}");
    assert!(without_files.restored >= keys, "{without_files:?}");
    if is_drill() {
        // With few keys the duration depends on other processes.
        let limit = Duration::from_secs(2);
        assert!(after_stop.duration < limit, "{after_stop:?}");
        let is_faster = after_kill.duration < without_files.duration;
        assert!(is_faster, "{after_kill:?}");
        let log = step.process().log();
        assert!(log.contains("restoring state: "), "no progress is logged");
    }
    step.submit(100).await;
    step.assert_counted();
    step.stop().await;
}

// === impl AnalyticsStep ===

impl AnalyticsStep {
    async fn new(bootstrap: &str) -> Self {
        let (app, folder) = (unique("student-data"), tempfile::tempdir().unwrap());
        copy_student_data(&folder.path().join("app"), &app);
        let client = client(bootstrap);
        let step = Self {
            app,
            folder,
            producer: producer(&client),
            client,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            bootstrap: bootstrap.to_owned(),
            process: None,
            admin: String::new(),
            submitted: 0,
        };
        let mut topics = step.load_app().topics.clone();
        // Loaded without plug-ins, the app does not know that the step has state.
        topics.push(topic::Topic {
            name: step.changelog(),
            partitions: topic::DEFAULT_PARTITIONS,
            config: [("cleanup.policy".to_owned(), "compact".to_owned())].into(),
        });
        topic::apply(&step.client, &topics).await.unwrap();
        step
    }

    fn load_app(&self) -> Arc<App> {
        let folders = [self.folder.path().join("app")];
        let mut apps = app::load(&folders, &UnknownPlugins, &app::process_environment).unwrap();
        apps.remove(0)
    }

    fn changelog(&self) -> String {
        topic::state(&self.app, "analytics")
    }

    fn state_files(&self) -> PathBuf {
        self.folder.path().join("data/state")
    }

    /// Writes the changelog of a step that has run for a long time.
    async fn fill_changelog(&self, keys: usize) {
        let (topic, generation) = (self.changelog(), EventId::new().to_string());
        let (topic, generation) = (topic.as_str(), generation.as_str());
        let value = "x".repeat(100);
        let write = |n: usize| {
            let value = value.as_str();
            async move {
                // The length and the name of the store, then the key.
                let key = format!("\u{6}countsfilled/{n}");
                let partition = n % usize::try_from(topic::DEFAULT_PARTITIONS).unwrap();
                let record = OutgoingRecord {
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
            .for_each_concurrent(IN_FLIGHT, |written| written)
            .await;
    }

    /// Starts the process and waits until it is ready.
    async fn start(&mut self) -> StartCost {
        let start = Instant::now();
        self.admin = format!("127.0.0.1:{}", free_port());
        let mut command = formline();
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
        StartCost {
            duration: start.elapsed(),
            restored: self.restored().await,
        }
    }

    async fn restored(&self) -> usize {
        let url = format!("http://{}/metrics", self.admin);
        let response = self.http.get(url).send().await.unwrap();
        let text = response.text().await.unwrap();
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

    /// Writes submissions, and waits until the step has processed them.
    async fn submit(&mut self, count: usize) {
        for n in 0..count {
            let (key, value) = (n.to_string(), student(n).to_string());
            let submission = TestSubmission::new(&self.app, &key, &value);
            submission.send(&self.producer).await;
        }
        self.submitted += count;
        let app = self.load_app();
        let step = app.steps.iter().find(|step| step.name == "analytics");
        let progress = GroupProgress::open(&self.client, vec![step.unwrap().stage()]).unwrap();
        let ends = progress.ends_to_pass(0).unwrap();
        eventually(DEADLINE, async || progress.has_passed(0, &ends).unwrap()).await;
    }

    /// Asserts that the latest counts of all keys add up to the number of submissions: no start has
    /// lost any.
    fn assert_counted(&self) {
        let mut last = BTreeMap::new();
        for record in read_all(&self.client, &format!("{}.counts", self.app)) {
            let count: serde_json::Value = serde_json::from_slice(record.value().unwrap()).unwrap();
            let key = record.key().unwrap().to_vec();
            last.insert(key, count["submissions"].as_u64().unwrap());
        }
        assert_eq!(last.values().sum::<u64>(), self.submitted as u64);
    }
}
