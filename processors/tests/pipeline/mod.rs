//! The vocabulary of the host's tests: a pipeline of steps on a real Kafka, with functions to feed
//! and observe it.
// Each test file is a crate of its own and uses only a part of this module.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_debug_implementations
)]

mod files;
mod records;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use formline_core::{
    Client, Producer, Record, Shutdown, Telemetry,
    app::{Limits, Location, Step},
    kafka::{
        producer::ProducerOptions,
        topic::{self, Topic},
    },
};
use formline_processors::{Error, Options};
use formline_testing::{Kafka, eventually, kafka, unique};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tracing_subscriber::EnvFilter;

pub use self::files::{another, built, exporting, of_contract, padded};
use self::files::{cache, copy};

/// Much longer than anything takes, even while Kafka is killed and the machine is busy.
pub const SOON: Duration = Duration::from_secs(120);

/// The topics of one test, and the host that runs between them.
pub struct Pipeline {
    pub client: Client,
    /// The app's name, and the prefix of all topic names.
    pub app: String,
    producer: Producer,
    plugins: TempDir,
    state: TempDir,
    steps: Vec<Arc<Step>>,
    forms: BTreeSet<String>,
    running: Option<Running>,
}

/// A running host.
pub struct Running {
    shutdown: Shutdown,
    telemetry: Telemetry,
    host: JoinHandle<Result<(), Error>>,
}

// === impl Pipeline ===

impl Pipeline {
    /// A pipeline without steps, whose plug-in folder contains the given files.
    pub async fn new(plugins: &[&str]) -> Self {
        Self::on(kafka().await, plugins)
    }

    /// Like [`new`](Self::new), on a Kafka that the test can stop.
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
        let options = ProducerOptions {
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

    /// The full name of one of the pipeline's topics.
    pub fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.app)
    }

    /// Creates a topic that a form writes to.
    pub async fn form(&mut self, name: &str, partitions: i32) {
        self.forms.insert(self.topic(name));
        self.topic_with(name, partitions, &[]).await;
    }

    /// Creates a topic with its own settings.
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

    /// Describes a step without adding it, so that the test can change it.
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

    /// A second pipeline with the same steps, which read the same topics and write to others.
    pub async fn replica(&self) -> Self {
        let mut replica = Self::new(&[]).await;
        (replica.plugins, replica.forms) = (copy(self.plugins.path()), self.forms.clone());
        for step in &self.steps {
            let output = step.output.iter().map(|(port, topic)| {
                let name = topic.strip_prefix(&self.app).unwrap();
                (port.clone(), format!("{}{name}", replica.app))
            });
            let twin = Step {
                app: replica.app.clone(),
                name: step.name.clone(),
                plugin: step.plugin.clone(),
                input: step.input.clone(),
                output: output.collect(),
                config: step.config.clone(),
                limits: step.limits,
                workers: step.workers,
                location: step.location.clone(),
            };
            replica.add(twin).await;
        }
        replica
    }

    /// Replaces the step with the same name.
    pub async fn replace(&mut self, step: Step) {
        self.steps.retain(|old| old.name != step.name);
        self.add(step).await;
    }

    /// Creates a topic, unless it exists.
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

    /// Starts a host with this instance name. A host that is already running continues in the
    /// background.
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

    /// Stops a host that was left running.
    pub async fn stop_other(&self, running: Running) {
        running.shutdown.begin();
        running.host.await.unwrap().unwrap();
        running.shutdown.finish(SOON).await;
    }

    /// Waits until the host fails, and returns its error.
    pub async fn failure(&mut self) -> Error {
        let running = self.leave();
        self.failure_of(running).await
    }

    /// Returns the host, still running.
    pub fn leave(&mut self) -> Running {
        self.running.take().expect("the host is running")
    }

    /// Waits until a host that was left running fails, and returns its error.
    pub async fn failure_of(&self, running: Running) -> Error {
        tokio::time::timeout(SOON, running.host)
            .await
            .unwrap()
            .unwrap()
            .unwrap_err()
    }

    fn telemetry(&self) -> Telemetry {
        self.running
            .as_ref()
            .expect("the host is running")
            .telemetry
            .clone()
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

    /// Whether every part is ready.
    pub async fn is_working(&self) -> bool {
        let text = self.ask("/metrics").await;
        let mut parts = text
            .lines()
            .filter(|line| line.starts_with("formline_part_ready"));
        parts.all(|part| part.ends_with(" 1"))
    }

    /// The health report of all parts.
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

    /// The folder of a host's state files.
    pub fn state(&self, instance: &str) -> PathBuf {
        self.state.path().join(instance)
    }
}

/// Stops the host of a failed test, which would otherwise run on.
impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.shutdown.begin();
        }
    }
}

/// Columns that match [`student`].
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
