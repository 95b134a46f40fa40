//! The vocabulary: apps/demo with more sinks, each stage a process of its own.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
    sync::Mutex,
    time::Duration,
};

use formline_core::{Client, EventId, Producer, event::Submission, producer, record::Outgoing};
use formline_testing::{Postgres, Process, free_port, kafka, plugins_dir, unique};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

/// apps/demo under a name of its own, with more sinks.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) folder: TempDir,
    pub(crate) database: String,
    bootstrap: String,
    producer: Producer,
    /// What the installation says.
    variables: Vec<(&'static str, String)>,
    /// HOST:PORT of the emulator.
    pub(crate) sheets: String,
    emulator: Mutex<Option<Process>>,
    sink: Option<Process>,
    steps: Option<Process>,
}

/// What `formline verify` has said.
pub(crate) struct Verdict {
    pub(crate) code: Option<i32>,
    pub(crate) json: Value,
}

/// Submissions as they are, for good.
const ARCHIVE: &str = r#"
[[sink]]
name = "archive"
kind = "postgres"
input = ["demo"]
"#;

pub(crate) const HELLO: &str = r#"{"name":"Ada","message":"hello"}"#;

impl Line {
    pub(crate) async fn with_archive() -> Self {
        let database = Postgres::shared().await.database();
        let variables = vec![("FORMLINE_POSTGRES_URL", database.clone())];
        let mut line = Self::start(ARCHIVE, variables, |_, _| {}).await;
        line.database = database;
        line
    }

    /// With this behind the app's file, and whatever else has to lie in its folder of this name.
    pub(crate) async fn start(
        more: &str,
        variables: Vec<(&'static str, String)>,
        prepare: impl FnOnce(&Path, &str),
    ) -> Self {
        let (name, folder) = (unique("demo"), tempfile::tempdir().unwrap());
        write_app(folder.path(), &name, more);
        prepare(folder.path(), &name);
        let bootstrap = kafka().await.bootstrap().to_owned();
        let options = producer::Options {
            delivery_timeout: Duration::from_secs(30),
            queue_messages: 100,
            queue_kib: 1024,
        };
        let client = Client::new(&bootstrap, BTreeMap::new());
        let mut line = Self {
            producer: Producer::open(&client, options).unwrap(),
            sheets: format!("127.0.0.1:{}", free_port()),
            emulator: Mutex::new(None),
            sink: None,
            steps: None,
            database: String::new(),
            name,
            folder,
            bootstrap,
            variables,
        };
        line.start_emulator();
        line.steps = Some(line.run(&["process"]).await);
        line.start_sink_again().await;
        line
    }

    pub(crate) fn start_emulator(&self) {
        let mut emulator = self.formline();
        let emulator = emulator.args(["sheets-emulator", "--sheets", &self.sheets]);
        *self.emulator.lock().unwrap() = Some(Process::spawn(emulator));
    }

    /// What it has answered is on its disk.
    pub(crate) fn stop_emulator(&self) {
        self.emulator.lock().unwrap().take();
    }

    /// The installation says something else from now on.
    pub(crate) fn set(&mut self, variable: &'static str, value: String) {
        self.variables.push((variable, value));
    }

    pub(crate) async fn start_sink_again(&mut self) {
        self.sink = None;
        let sink = self.run(&["sink", "--sheets", &self.sheets]).await;
        self.sink = Some(sink);
    }

    pub(crate) async fn stop_sink(&mut self) {
        self.sink.take().unwrap().terminate().await;
    }

    /// Starts a stage, and waits until it is ready.
    async fn run(&self, arguments: &[&str]) -> Process {
        let admin = format!("127.0.0.1:{}", free_port());
        let mut command = self.formline();
        let command = command.args(arguments).args(["--admin", &admin]);
        let mut process = Process::spawn(command.arg("--app").arg(self.folder.path()));
        process.wait_ready(&admin).await;
        process
    }

    fn formline(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        command
            .env("FORMLINE_BOOTSTRAP", &self.bootstrap)
            .env("FORMLINE_PLUGINS", plugins_dir())
            .env("FORMLINE_DATA", self.folder.path().join("data"))
            .env("FORMLINE_INSTANCE", "test")
            .envs(self.variables.iter().cloned());
        command
    }

    /// Accepts a submission, as ingest would.
    pub(crate) async fn submit(&self, value: &str) -> String {
        let id = EventId::new();
        self.put(id, Timestamp::now(), None, value).await;
        id.to_string()
    }

    pub(crate) async fn put(
        &self,
        id: EventId,
        time: Timestamp,
        fingerprint: Option<&str>,
        value: &str,
    ) {
        let submission = Submission {
            id,
            time,
            form: &self.name,
            subject: None,
            schema: "/schema",
            trace_parent: None,
            fingerprint,
        };
        let record = Outgoing {
            topic: &self.name,
            partition: None,
            key: Some(id.as_bytes()),
            value: Some(value.as_bytes()),
            headers: submission.headers(),
            timestamp_ms: None,
        };
        self.producer.send(record).await.unwrap();
    }

    /// What a command of an operator says.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = self.formline();
        let command = command.args(arguments).arg("--app").arg(self.folder.path());
        command.output().unwrap()
    }

    pub(crate) fn ask_verify(&self, arguments: &[&str]) -> Output {
        let verify = ["verify", "--sheets", &self.sheets];
        self.ask(&[&verify, arguments].concat())
    }

    pub(crate) fn ask_flush(&self, arguments: &[&str]) -> Output {
        let flush = ["flush", "--sheets", &self.sheets];
        self.ask(&[&flush, arguments].concat())
    }

    /// A job that is still at work.
    pub(crate) fn start_flush(&self, arguments: &[&str]) -> Process {
        let mut command = self.formline();
        let flush = ["flush", "--sheets", &self.sheets];
        let command = command.args(flush).args(arguments);
        Process::spawn(command.arg("--app").arg(self.folder.path()))
    }

    pub(crate) fn verify(&self, arguments: &[&str]) -> Verdict {
        let output = self.ask_verify(&[&["--json"], arguments].concat());
        let json = serde_json::from_slice(&output.stdout);
        Verdict {
            code: output.status.code(),
            json: json.unwrap_or_else(|_| panic!("{}", text(&output))),
        }
    }

    /// Once nothing is under way.
    pub(crate) fn verify_at_rest(&self) -> Verdict {
        self.verify(&["--wait", "2m"])
    }

    /// What a person types into a cell.
    pub(crate) async fn type_into(&self, cell: &str, value: &str) {
        let url = format!(
            "http://{}/v4/spreadsheets/{}/values/Responses!{cell}?valueInputOption=RAW",
            self.sheets, self.name
        );
        let body = json!({ "values": [[value]] });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.put(url).json(&body).send().await.unwrap();
        assert!(
            answer.status().is_success(),
            "{}",
            answer.text().await.unwrap()
        );
    }
}

impl Verdict {
    pub(crate) fn sink(&self, name: &str) -> &Value {
        let sinks = self.json["sinks"].as_array().unwrap();
        let is_it = |sink: &&Value| sink["sink"].as_str().unwrap().ends_with(name);
        sinks.iter().find(is_it).unwrap()
    }

    /// The end, and of each sink how many it holds and the lists that are not empty.
    pub(crate) fn expect(&self, code: i32, sinks: &[(&str, u64, Value)]) {
        assert_eq!(self.code, Some(code), "{:#}", self.json);
        for (name, delivered, lists) in sinks {
            let sink = self.sink(name);
            assert_eq!(sink["delivered"], *delivered, "{name}: {:#}", self.json);
            let found = sink.as_object().unwrap().iter();
            let found = found.filter(|(_, list)| list.as_array().is_some_and(|l| !l.is_empty()));
            let found: serde_json::Map<_, _> = found
                .map(|(name, list)| (name.clone(), list.clone()))
                .collect();
            assert_eq!(Value::from(found), *lists, "{name}: {:#}", self.json);
        }
    }
}

pub(crate) fn text(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    both.join("")
}

pub(crate) fn write_app(folder: &Path, name: &str, more: &str) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../apps/demo");
    let app = fs::read_to_string(demo.join("app.toml")).unwrap() + more;
    let app = app
        .replace("\"demo", &format!("\"{name}"))
        .replace("/demo", &format!("/{name}"))
        .replace("${DEMO_SHEET_ID:-demo}", name);
    fs::write(folder.join("app.toml"), app).unwrap();
    let schema = demo.join("demo.schema.json");
    fs::copy(schema, folder.join(format!("{name}.schema.json"))).unwrap();
}
