//! apps/demo with more sinks. Each stage is a process of its own.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::Path,
    process::{Command, Output},
    sync::Mutex,
};

use formline_core::{EventId, Producer};
use formline_testing::{Postgres, Process, free_port, kafka, plugins_dir, unique};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    TestSubmission, client, copy_demo, formline, output_text, producer, rename_demo,
};

/// A running pipeline: the sheets emulator, the steps and the sinks.
pub(crate) struct Pipeline {
    pub(crate) name: String,
    pub(crate) folder: TempDir,
    /// The URL of the database, if there is an archive.
    pub(crate) database: String,
    bootstrap: String,
    producer: Producer,
    /// Settings as environment variables.
    variables: Vec<(&'static str, String)>,
    /// HOST:PORT of the emulator.
    pub(crate) sheets: String,
    emulator: Mutex<Option<Process>>,
    sink: Option<Process>,
    steps: Option<Process>,
}

/// The result of `formline verify --json`.
pub(crate) struct Verdict {
    pub(crate) code: Option<i32>,
    pub(crate) json: Value,
}

/// A sink that stores the submissions in PostgreSQL.
const ARCHIVE: &str = r#"
[[sink]]
name = "archive"
kind = "postgres"
input = ["demo"]
"#;

/// A valid submission.
pub(crate) const HELLO: &str = r#"{"name":"Ada","message":"hello"}"#;

// === impl Pipeline ===

impl Pipeline {
    /// A pipeline with a sheet and an archive.
    pub(crate) async fn with_archive() -> Self {
        let database = Postgres::shared().await.database();
        let variables = vec![("FORMLINE_POSTGRES_URL", database.clone())];
        let mut pipeline = Self::start(ARCHIVE, variables, |_| {}).await;
        pipeline.database = database;
        pipeline
    }

    /// Appends `more` to app.toml. `prepare` may add files to the folder of the app.
    pub(crate) async fn start(
        more: &str,
        variables: Vec<(&'static str, String)>,
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let (name, folder) = (unique("demo"), tempfile::tempdir().unwrap());
        write_app(folder.path(), &name, more);
        prepare(folder.path());
        let bootstrap = kafka().await.bootstrap().to_owned();
        let mut pipeline = Self {
            producer: producer(&client(&bootstrap)),
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
        pipeline.start_emulator();
        pipeline.steps = Some(pipeline.start_stage(&["process"]).await);
        pipeline.restart_sink().await;
        pipeline
    }

    pub(crate) fn start_emulator(&self) {
        let mut emulator = self.formline();
        let emulator = emulator.args(["sheets-emulator", "--sheets", &self.sheets]);
        *self.emulator.lock().unwrap() = Some(Process::spawn(emulator));
    }

    /// Kills the emulator. What it has acknowledged is on its disk.
    pub(crate) fn stop_emulator(&self) {
        self.emulator.lock().unwrap().take();
    }

    /// Changes a setting for the processes that are started from now on.
    pub(crate) fn set(&mut self, variable: &'static str, value: String) {
        self.variables.push((variable, value));
    }

    pub(crate) async fn restart_sink(&mut self) {
        self.sink = None;
        let sink = self.start_stage(&["sink", "--sheets", &self.sheets]).await;
        self.sink = Some(sink);
    }

    pub(crate) async fn stop_sink(&mut self) {
        self.sink.take().unwrap().terminate().await;
    }

    /// Starts a stage and waits until it is ready.
    async fn start_stage(&self, arguments: &[&str]) -> Process {
        let admin = format!("127.0.0.1:{}", free_port());
        let mut command = self.formline();
        let command = command.args(arguments).args(["--admin", &admin]);
        let mut process = Process::spawn(command.arg("--app").arg(self.folder.path()));
        process.wait_ready(&admin).await;
        process
    }

    fn formline(&self) -> Command {
        let mut command = formline();
        command
            .env("FORMLINE_BOOTSTRAP", &self.bootstrap)
            .env("FORMLINE_PLUGINS", plugins_dir())
            .env("FORMLINE_DATA", self.folder.path().join("data"))
            .env("FORMLINE_INSTANCE", "test")
            .envs(self.variables.iter().cloned());
        command
    }

    /// Accepts a submission as ingest would, and returns its id.
    pub(crate) async fn submit(&self, value: &str) -> String {
        let id = EventId::new();
        self.write(id, Timestamp::now(), None, value).await;
        id.to_string()
    }

    /// Accepts a submission with this id and time; with a fingerprint if it is keyed.
    pub(crate) async fn write(
        &self,
        id: EventId,
        time: Timestamp,
        fingerprint: Option<&str>,
        value: &str,
    ) {
        let submission = TestSubmission {
            id,
            time,
            form: &self.name,
            subject: None,
            fingerprint,
            value,
        };
        submission.send(&self.producer).await;
    }

    /// Runs a command of an operator on the app.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.formline();
        let command = command.args(arguments).arg("--app").arg(self.folder.path());
        command.output().unwrap()
    }

    pub(crate) fn run_verify(&self, arguments: &[&str]) -> Output {
        let verify = ["verify", "--sheets", &self.sheets];
        self.run(&[&verify, arguments].concat())
    }

    pub(crate) fn run_flush(&self, arguments: &[&str]) -> Output {
        let flush = ["flush", "--sheets", &self.sheets];
        self.run(&[&flush, arguments].concat())
    }

    /// Starts a flush without waiting for its end.
    pub(crate) fn start_flush(&self, arguments: &[&str]) -> Process {
        let mut command = self.formline();
        let flush = ["flush", "--sheets", &self.sheets];
        let command = command.args(flush).args(arguments);
        Process::spawn(command.arg("--app").arg(self.folder.path()))
    }

    pub(crate) fn verify(&self, arguments: &[&str]) -> Verdict {
        let output = self.run_verify(&[&["--json"], arguments].concat());
        let json = serde_json::from_slice(&output.stdout);
        Verdict {
            code: output.status.code(),
            json: json.unwrap_or_else(|_| panic!("{}", output_text(&output))),
        }
    }

    /// Verifies once nothing is under way.
    pub(crate) fn verify_at_rest(&self) -> Verdict {
        self.verify(&["--wait", "2m"])
    }

    /// Changes a cell of the sheet, as a user would.
    pub(crate) async fn edit_cell(&self, cell: &str, value: &str) {
        let url = format!(
            "http://{}/v4/spreadsheets/{}/values/Responses!{cell}?valueInputOption=RAW",
            self.sheets, self.name
        );
        let body = json!({ "values": [[value]] });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = http.put(url).json(&body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{text}");
    }
}

// === impl Verdict ===

impl Verdict {
    /// The account of a sink, whose title ends with `name`.
    pub(crate) fn sink(&self, name: &str) -> &Value {
        let sinks = self.json["sinks"].as_array().unwrap();
        let matches = |sink: &&Value| sink["sink"].as_str().unwrap().ends_with(name);
        sinks.iter().find(matches).unwrap()
    }

    /// Asserts the exit code, and for each sink the number of deliveries and the lists that are not
    /// empty.
    pub(crate) fn assert(&self, code: i32, sinks: &[(&str, u64, Value)]) {
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

/// Copies apps/demo, with a spreadsheet of its own, and appends `more` to its app.toml.
pub(crate) fn write_app(folder: &Path, name: &str, more: &str) {
    copy_demo(folder, name, |text| {
        text.replace("${DEMO_SHEET_ID:-demo}", name)
    });
    let app = folder.join("app.toml");
    let mut app = OpenOptions::new().append(true).open(app).unwrap();
    app.write_all(rename_demo(more, name).as_bytes()).unwrap();
}
