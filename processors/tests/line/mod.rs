//! The vocabulary of the host's tests: a line of steps on a real Kafka, fed and looked at from outside.
// Each test file is a crate of its own and uses a part of it.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_debug_implementations
)]

mod files;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use formline_core::{
    Client, EventId, Producer, Record, Shutdown, Telemetry,
    app::{Limits, Location, Step},
    client,
    event::Submission,
    producer,
    progress::{Progress, Stage},
    reader::{From, Reader},
    record::{Headers, Outgoing},
    topic::{self, Topic},
    transaction::Transactions,
};
use formline_processors::{Error, Options};
use formline_testing::{Kafka, eventually, kafka, unique};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tracing_subscriber::EnvFilter;

use self::files::cache;
pub use self::files::{another, built, exporting, of_contract, padded};

/// Far above what anything takes, also while Kafka is killed and the machine is busy.
pub const SOON: Duration = Duration::from_secs(120);

/// Topics of one test with what runs between them.
pub struct Line {
    pub client: Client,
    /// The app's name, and the beginning of all names of topics.
    pub app: String,
    producer: Producer,
    plugins: TempDir,
    state: TempDir,
    steps: Vec<Arc<Step>>,
    forms: BTreeSet<String>,
    running: Option<Running>,
}

/// A host of its own.
pub struct Running {
    shutdown: Shutdown,
    telemetry: Telemetry,
    host: JoinHandle<Result<(), Error>>,
}

// === impl Line ===

impl Line {
    /// A line without steps, whose plug-in folder holds the given files.
    pub async fn new(plugins: &[&str]) -> Self {
        Self::on(kafka().await, plugins)
    }

    /// The same on a Kafka that the test can stop.
    pub fn on(kafka: &Kafka, plugins: &[&str]) -> Self {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
        let logs = tracing_subscriber::fmt().with_env_filter(filter);
        // Only the first test of a process succeeds.
        let _ = logs.with_test_writer().try_init();
        let client = Client::new(kafka.bootstrap(), BTreeMap::new());
        let folder = tempfile::tempdir().unwrap();
        for name in plugins {
            fs::copy(built(name), folder.path().join(format!("{name}.wasm"))).unwrap();
        }
        let options = producer::Options {
            delivery_timeout: Duration::from_secs(20),
            queue_messages: 10_000,
            queue_kib: 65_536,
        };
        Self {
            producer: Producer::open(&client, options).unwrap(),
            client,
            app: unique("line"),
            plugins: folder,
            state: tempfile::tempdir().unwrap(),
            steps: Vec::new(),
            forms: BTreeSet::new(),
            running: None,
        }
    }

    /// The name of one of the line's topics.
    pub fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.app)
    }

    /// A topic that a form writes to.
    pub async fn form(&mut self, name: &str, partitions: i32) {
        self.forms.insert(self.topic(name));
        self.topic_with(name, partitions, &[]).await;
    }

    /// A topic with settings of its own.
    pub async fn topic_with(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        self.make_topic(self.topic(name), partitions, config).await;
    }

    /// Adds a step from one topic to others, given by port.
    pub async fn step(
        &mut self,
        plugin: &str,
        input: (&str, &str),
        output: &[(&str, &str)],
        config: Value,
    ) {
        let step = self.describe(plugin, input, output, config);
        self.add(step).await;
    }

    /// The same, to be changed before it is added.
    pub fn describe(
        &self,
        plugin: &str,
        input: (&str, &str),
        output: &[(&str, &str)],
        config: Value,
    ) -> Step {
        let (port, topic) = input;
        let outputs = output
            .iter()
            .map(|(port, topic)| ((*port).to_owned(), self.topic(topic)));
        Step {
            app: self.app.clone(),
            name: plugin.to_owned(),
            plugin: plugin.to_owned(),
            input: [(port.to_owned(), vec![self.topic(topic)])].into(),
            output: outputs.collect(),
            config,
            limits: Limits::default(),
            workers: 1,
            location: Location {
                file: Arc::new(PathBuf::from("app.toml")),
                line: 1,
            },
        }
    }

    pub async fn add(&mut self, step: Step) {
        for topic in step.output.values() {
            self.make_topic(topic.clone(), 2, &[]).await;
        }
        self.make_topic(step.dead_letter_topic(), 1, &[]).await;
        let compacted = [("cleanup.policy", "compact")];
        self.make_topic(step.state_topic(), 2, &compacted).await;
        self.steps.push(Arc::new(step));
    }

    /// Puts a step in the place of the one with its name.
    pub async fn replace(&mut self, step: Step) {
        self.steps.retain(|old| old.name != step.name);
        self.add(step).await;
    }

    /// Makes a topic, unless it is there.
    pub async fn make_topic(&self, name: String, partitions: i32, config: &[(&str, &str)]) {
        let config = config
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        topic::apply(
            &self.client,
            &[Topic {
                name,
                partitions,
                config,
            }],
        )
        .await
        .unwrap();
    }

    // === Running ===

    /// Starts the host and waits until all steps are ready.
    pub async fn start(&mut self) {
        self.spawn();
        let telemetry = self.telemetry();
        eventually(SOON, async || telemetry.is_ready()).await;
    }

    /// Starts the host.
    pub fn spawn(&mut self) {
        self.spawn_as("test");
    }

    /// Starts a host of that name. One that runs goes on without being watched.
    pub fn spawn_as(&mut self, instance: &str) {
        let (shutdown, telemetry) = (Shutdown::new(), Telemetry::new());
        let options = Options {
            client: self.client.clone(),
            plugins: self.plugins.path().to_owned(),
            cache: cache(),
            state: self.state(instance),
            instance: instance.to_owned(),
            form_topics: self.forms.clone(),
            telemetry: telemetry.clone(),
        };
        let host = formline_processors::run(options, self.steps.clone(), shutdown.clone());
        let host = tokio::spawn(host);
        self.running = Some(Running {
            shutdown,
            telemetry,
            host,
        });
    }

    /// Stops the host as an operator would.
    pub async fn stop(&mut self) {
        let running = self.leave();
        self.stop_other(running).await;
    }

    /// The same with a host that was left.
    pub async fn stop_other(&self, running: Running) {
        running.shutdown.begin();
        running.host.await.unwrap().unwrap();
        running.shutdown.finish(SOON).await;
    }

    /// Waits until the host ends by itself, and why.
    pub async fn failure(&mut self) -> Error {
        let running = self.leave();
        self.failure_of(running).await
    }

    /// Leaves the host alone, still running.
    pub fn leave(&mut self) -> Running {
        self.running.take().expect("it runs")
    }

    /// Waits until a host that was left ends by itself, and why.
    pub async fn failure_of(&self, running: Running) -> Error {
        tokio::time::timeout(SOON, running.host)
            .await
            .unwrap()
            .unwrap()
            .unwrap_err()
    }

    fn telemetry(&self) -> Telemetry {
        self.running.as_ref().expect("it runs").telemetry.clone()
    }

    pub fn is_ready(&self) -> bool {
        self.telemetry().is_ready()
    }

    /// The value of a metric: the line that contains all the words.
    pub async fn metric(&self, words: &[&str]) -> f64 {
        let text = self.ask("/metrics").await;
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let line = lines.find(|line| words.iter().all(|word| line.contains(word)));
        line.and_then(|line| line.split(' ').next_back()?.parse().ok())
            .unwrap_or(0.0)
    }

    /// Whether every part does its work.
    pub async fn is_working(&self) -> bool {
        let text = self.ask("/metrics").await;
        let mut parts = text
            .lines()
            .filter(|line| line.starts_with("formline_part_ready"));
        parts.all(|part| part.ends_with(" 1"))
    }

    /// What each part says of itself.
    pub async fn health(&self) -> String {
        self.ask("/readyz").await
    }

    async fn ask(&self, path: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(self.telemetry().serve(listener));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        serving.abort();
        text
    }

    /// The folder of state files of a host.
    pub fn state(&self, instance: &str) -> PathBuf {
        self.state.path().join(instance)
    }

    // === Records ===

    /// Submits through a form, as ingest does.
    pub async fn submit(&self, topic: &str, key: &str, value: &str) -> EventId {
        let (id, value) = (EventId::new(), value.as_bytes());
        self.write(topic, key.as_bytes(), value, headers(id, key, None))
            .await;
        id
    }

    /// Submits many at once.
    pub async fn submit_all(&self, topic: &str, key: &str, values: &[String]) {
        let sending = values.iter().map(|value| self.submit(topic, key, value));
        futures::future::join_all(sending).await;
    }

    /// Submits with an Idempotency-Key.
    pub async fn submit_keyed(&self, topic: &str, key: &str, value: &str) -> EventId {
        let id = EventId::keyed(topic, key);
        let headers = headers(id, key, Some("fingerprint"));
        self.write(topic, key.as_bytes(), value.as_bytes(), headers)
            .await;
        id
    }

    /// Submits at a time of the past, in milliseconds since 1970.
    pub async fn submit_at(&self, topic: &str, key: &str, value: &str, timestamp_ms: i64) {
        let headers = headers(EventId::new(), key, None);
        let value = value.as_bytes();
        self.produce(topic, key.as_bytes(), value, headers, Some(timestamp_ms))
            .await;
    }

    /// Writes a record that may come from no form.
    pub async fn write(&self, topic: &str, key: &[u8], value: &[u8], headers: Headers) {
        self.produce(topic, key, value, headers, None).await;
    }

    async fn produce(
        &self,
        topic: &str,
        key: &[u8],
        value: &[u8],
        headers: Headers,
        timestamp_ms: Option<i64>,
    ) {
        let record = Outgoing {
            topic: &self.topic(topic),
            partition: None,
            key: Some(key),
            value: Some(value),
            headers,
            timestamp_ms,
        };
        self.producer.send(record).await.unwrap();
    }

    /// Writes a record in a transaction that stays open.
    pub async fn hold_open(&self, topic: &str, partition: i32) -> Transactions {
        let before = self.end_of(topic, partition);
        let mut transactions = Transactions::open(&self.client, &self.topic("held"), "").unwrap();
        let mut open = transactions.begin().unwrap();
        let record = Outgoing {
            topic,
            partition: Some(partition),
            key: Some(b"held"),
            value: Some(b"open"),
            headers: Headers::with_capacity(0),
            timestamp_ms: None,
        };
        open.send(record).unwrap();
        drop(open);
        eventually(SOON, async || self.end_of(topic, partition) > before).await;
        transactions
    }

    fn end_of(&self, topic: &str, partition: i32) -> i64 {
        let stage = Stage {
            group: self.topic("nobody"),
            topics: vec![topic.to_owned()],
        };
        let ends = Progress::open(&self.client, vec![stage]).unwrap().ends(0);
        let ends = ends.unwrap().into_iter();
        let mut of_partition = ends.filter(|(_, number, _)| *number == partition);
        of_partition.next().unwrap().2
    }

    /// Ends what was held open, without a trace.
    pub fn end(&self, open: Transactions) {
        drop(open);
        drop(Transactions::open(&self.client, &self.topic("held"), "").unwrap());
    }

    /// Everything in a topic that readers of committed records see.
    pub fn records(&self, topic: &str) -> Vec<Record> {
        self.all(&self.topic(topic))
    }

    /// What a step has parked.
    pub fn dead_letters(&self, step: &str) -> Vec<Record> {
        self.all(&topic::dead_letter(&self.app, step))
    }

    /// The changelog of a step's stores, before compaction, without what the host keeps there for itself.
    pub fn changelog(&self, step: &str) -> Vec<Record> {
        let mut records = self.all(&topic::state(&self.app, step));
        records.retain(|record| !record.key().unwrap().starts_with(&[0]));
        records
    }

    fn all(&self, topic: &str) -> Vec<Record> {
        self.try_all(topic).unwrap()
    }

    fn try_all(&self, topic: &str) -> Result<Vec<Record>, client::Error> {
        let mut records = Vec::new();
        let mut reader = Reader::open(&self.client, topic, &[], From::Beginning)?;
        reader.read_to_end(|| true, |record| records.push(record))?;
        Ok(records)
    }

    /// Waits until a topic holds so many records, and returns them.
    pub async fn wait_for(&self, topic: &str, count: usize) -> Vec<Record> {
        let topic = self.topic(topic);
        self.wait_for_all(&topic, count).await
    }

    /// The same for the dead letters of a step.
    pub async fn wait_for_dead_letters(&self, step: &str, count: usize) -> Vec<Record> {
        self.wait_for_all(&topic::dead_letter(&self.app, step), count)
            .await
    }

    async fn wait_for_all(&self, topic: &str, count: usize) -> Vec<Record> {
        eventually(SOON, async || match self.try_all(topic) {
            Ok(records) if records.len() >= count => Ok(records),
            Ok(records) => Err(format!("{} records", records.len())),
            // Some tests kill Kafka.
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Waits until the steps' committed offsets are the ends of their topics.
    pub async fn wait_until_passed(&self) {
        for step in &self.steps {
            let stage = Stage {
                group: step.group(),
                topics: step.topics(),
            };
            let progress = Progress::open(&self.client, vec![stage]).unwrap();
            eventually(SOON, async || {
                let ends = progress.ends_to_pass(0).unwrap();
                progress
                    .has_passed(0, &ends)
                    .map_err(|error| error.to_string())
                    == Ok(true)
            })
            .await;
        }
    }
}

/// A test that fails must not wait for its host for ever.
impl Drop for Line {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.shutdown.begin();
        }
    }
}

fn headers(id: EventId, key: &str, fingerprint: Option<&str>) -> Headers {
    let submission = Submission {
        id,
        time: Timestamp::now(),
        form: "students",
        subject: Some(key),
        schema: "/v1/forms/students/schema",
        trace_parent: None,
        fingerprint,
    };
    submission.headers()
}

/// Columns that fit to `student`.
pub fn columns() -> Value {
    json!({ "columns": ["roll", "name", "label"] })
}

pub fn labels() -> Value {
    json!({ "add": { "label": { "template": "{name} ({roll})" } } })
}

pub fn student(roll: usize) -> String {
    json!({ "roll": roll.to_string(), "name": format!("Student {roll}") }).to_string()
}

pub fn text(record: &Record) -> String {
    String::from_utf8(record.value().unwrap().to_vec()).unwrap()
}

pub fn texts(records: &[Record]) -> Vec<String> {
    let mut texts: Vec<_> = records.iter().map(text).collect();
    texts.sort();
    texts
}

pub fn texts_of(values: &[&str]) -> Vec<String> {
    let mut texts: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
    texts.sort();
    texts
}
