//! `formline verify` as an operator uses it, on real parts: steps, sinks, the sheets emulator, PostgreSQL.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use formline_core::{Client, EventId, Producer, event::Submission, producer, record::Outgoing};
use formline_testing::{Postgres, Process, free_port, kafka, plugins_dir, unique};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

/// apps/demo under a name of its own, whose submissions also go to PostgreSQL as they are.
struct Line {
    name: String,
    folder: TempDir,
    bootstrap: String,
    producer: Producer,
    database: String,
    /// HOST:PORT of the emulator.
    sheets: String,
    sink: Process,
    _steps: Process,
    _emulator: Process,
}

/// What `formline verify` has said.
struct Verdict {
    code: Option<i32>,
    json: Value,
}

const ARCHIVE: &str = r#"
[[sink]]
name = "archive"
kind = "postgres"
input = ["demo"]
"#;

const HELLO: &str = r#"{"name":"Ada","message":"hello"}"#;

impl Line {
    async fn start() -> Self {
        let (name, folder) = (unique("demo"), tempfile::tempdir().unwrap());
        write_app(folder.path(), &name);
        let bootstrap = kafka().await.bootstrap().to_owned();
        let database = Postgres::shared().await.database();
        let options = producer::Options {
            delivery_timeout: Duration::from_secs(30),
            queue_messages: 100,
            queue_kib: 1024,
        };
        let client = Client::new(&bootstrap, BTreeMap::new());
        let sheets = format!("127.0.0.1:{}", free_port());
        let mut emulator = formline(folder.path(), &bootstrap, &database);
        let emulator = Process::spawn(emulator.args(["sheets-emulator", "--sheets", &sheets]));
        let mut steps = formline(folder.path(), &bootstrap, &database);
        let steps = run(steps.arg("process").arg("--app").arg(folder.path())).await;
        Self {
            sink: start_sink(folder.path(), &bootstrap, &database, &sheets).await,
            producer: Producer::open(&client, options).unwrap(),
            _steps: steps,
            _emulator: emulator,
            name,
            folder,
            bootstrap,
            database,
            sheets,
        }
    }

    async fn start_sink_again(&mut self) {
        let (folder, bootstrap) = (self.folder.path(), &self.bootstrap);
        self.sink = start_sink(folder, bootstrap, &self.database, &self.sheets).await;
    }

    /// Accepts a submission, as ingest would.
    async fn submit(&self, value: &str) -> String {
        let id = EventId::new();
        self.put(id, Timestamp::now(), None, value).await;
        id.to_string()
    }

    async fn put(&self, id: EventId, time: Timestamp, fingerprint: Option<&str>, value: &str) {
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

    fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = formline(self.folder.path(), &self.bootstrap, &self.database);
        let command = command.args(["verify", "--sheets", &self.sheets]);
        let command = command.args(["--bootstrap", &self.bootstrap]);
        let command = command.arg("--app").arg(self.folder.path());
        command.args(arguments).output().unwrap()
    }

    fn verify(&self, arguments: &[&str]) -> Verdict {
        let output = self.ask(&[&["--json"], arguments].concat());
        let json = serde_json::from_slice(&output.stdout);
        Verdict {
            code: output.status.code(),
            json: json.unwrap_or_else(|_| panic!("{}", text(&output))),
        }
    }

    /// Once nothing is under way.
    fn verify_at_rest(&self) -> Verdict {
        self.verify(&["--wait", "2m"])
    }

    /// What a person types into a cell.
    async fn type_into(&self, cell: &str, value: &str) {
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
    fn sink(&self, name: &str) -> &Value {
        let sinks = self.json["sinks"].as_array().unwrap();
        let is_it = |sink: &&Value| sink["sink"].as_str().unwrap().ends_with(name);
        sinks.iter().find(is_it).unwrap()
    }

    /// The end, and of each sink how many it holds and the lists that are not empty.
    fn expect(&self, code: i32, sinks: [(&str, u64, Value); 2]) {
        assert_eq!(self.code, Some(code), "{:#}", self.json);
        for (name, delivered, lists) in sinks {
            let sink = self.sink(name);
            assert_eq!(sink["delivered"], delivered, "{name}: {:#}", self.json);
            let found = sink.as_object().unwrap().iter();
            let found = found.filter(|(_, list)| list.as_array().is_some_and(|l| !l.is_empty()));
            let found: serde_json::Map<_, _> = found
                .map(|(name, list)| (name.clone(), list.clone()))
                .collect();
            assert_eq!(Value::from(found), lists, "{name}: {:#}", self.json);
        }
    }
}

fn text(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    both.join("")
}

fn write_app(folder: &Path, name: &str) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../apps/demo");
    let app = fs::read_to_string(demo.join("app.toml")).unwrap() + ARCHIVE;
    let app = app
        .replace("\"demo", &format!("\"{name}"))
        .replace("/demo", &format!("/{name}"))
        .replace("${DEMO_SHEET_ID:-demo}", name);
    fs::write(folder.join("app.toml"), app).unwrap();
    let schema = demo.join("demo.schema.json");
    fs::copy(schema, folder.join(format!("{name}.schema.json"))).unwrap();
}

fn formline(folder: &Path, bootstrap: &str, database: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
    command
        .env("FORMLINE_BOOTSTRAP", bootstrap)
        .env("FORMLINE_POSTGRES_URL", database)
        .env("FORMLINE_PLUGINS", plugins_dir())
        .env("FORMLINE_DATA", folder.join("data"))
        .env("FORMLINE_INSTANCE", "test");
    command
}

/// Starts a stage, and waits until it is ready.
async fn run(command: &mut Command) -> Process {
    let admin = format!("127.0.0.1:{}", free_port());
    let mut process = Process::spawn(command.args(["--admin", &admin]));
    process.wait_ready(&admin).await;
    process
}

async fn start_sink(folder: &Path, bootstrap: &str, database: &str, sheets: &str) -> Process {
    let mut sink = formline(folder, bootstrap, database);
    let sink = sink.args(["sink", "--sheets", sheets]);
    run(sink.arg("--app").arg(folder)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_submission_is_accounted_for_at_every_sink() {
    let mut line = Line::start().await;
    let first = line.submit(HELLO).await;
    // The same key came in twice, to two processes.
    let (keyed, now) = (EventId::keyed(&line.name, "key"), Timestamp::now());
    line.put(keyed, now, Some("f"), HELLO).await;
    let again = now + SignedDuration::from_secs(1);
    line.put(keyed, again, Some("f"), HELLO).await;
    let earlier = now - SignedDuration::from_hours(30);
    line.put(EventId::new(), earlier, None, HELLO).await;

    let well = line.verify_at_rest();
    well.expect(0, [("/sheet", 2, json!({})), ("/archive", 2, json!({}))]);
    assert_eq!(well.json["submissions"], 2);
    assert_eq!(well.json["repetitions"], 1);
    let longer = line.verify(&["--since", "2d", "--wait", "2m"]);
    assert_eq!(longer.json["submissions"], 3);
    let told = text(&line.ask(&[]));
    assert!(told.starts_with("2 submissions since 20"), "{told}");

    // While the sinks are away.
    line.sink.terminate().await;
    let waiting = line.submit(HELLO).await;
    let under_way = json!({ "under_way": [waiting] });
    let verdict = line.verify(&[]);
    verdict.expect(
        0,
        [("/sheet", 2, under_way.clone()), ("/archive", 2, under_way)],
    );
    line.start_sink_again().await;
    line.verify_at_rest()
        .expect(0, [("/sheet", 3, json!({})), ("/archive", 3, json!({}))]);

    // A person has deleted what both held.
    Postgres::execute(
        &line.database,
        &format!("DELETE FROM formline.responses WHERE id = '{first}'"),
    );
    let missing = json!({ "missing": [first] });
    line.verify(&[]).expect(
        1,
        [("/sheet", 3, json!({})), ("/archive", 2, missing.clone())],
    );
    let told = line.ask(&["--sink", "archive"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(
        text(&told).contains(&format!("/archive:\n  {first}\n")),
        "{}",
        text(&told)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sheet_that_a_person_has_changed_is_found_out() {
    let line = Line::start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(line.submit(HELLO).await);
    }
    let archive = || ("/archive", 3, json!({}));
    line.verify_at_rest()
        .expect(0, [("/sheet", 3, json!({})), archive()]);

    line.type_into("A2", &ids[1]).await;
    line.type_into("A3", &ids[0]).await;
    let place = json!({ "id": ids[0], "spreadsheet": line.name, "tab": "Responses", "row": 3 });
    let disorder = json!({ "disorder": [place] });
    line.verify(&[])
        .expect(1, [("/sheet", 3, disorder), archive()]);

    line.type_into("A2", &ids[0]).await;
    line.type_into("A3", &ids[2]).await;
    let gone = json!({ "missing": [ids[1]], "doubled": [ids[2]] });
    line.verify(&[]).expect(1, [("/sheet", 1, gone), archive()]);

    line.type_into("A3", "").await;
    let gone = json!({ "missing": [ids[1]] });
    line.verify(&[]).expect(1, [("/sheet", 2, gone), archive()]);

    line.type_into("A1", "Number").await;
    let refused = line.ask(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("`Submission`"),
        "{}",
        text(&refused)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_a_dead_letter_with_its_reason() {
    let line = Line::start().await;
    line.submit(HELLO).await;
    // Neither the step nor PostgreSQL takes it.
    let bad = line.submit("no json").await;
    let verdict = line.verify_at_rest();
    assert_eq!(verdict.code, Some(0), "{:#}", verdict.json);
    for (sink, stop) in [("/sheet", "rows"), ("/archive", "archive")] {
        let letters = &verdict.sink(sink)["dead_letters"];
        assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
        assert_eq!(letters[0]["id"], bad.as_str());
        assert_eq!(letters[0]["at"], stop);
        assert_eq!(verdict.sink(sink)["delivered"], 1);
    }
    let told = text(&line.ask(&[]));
    assert!(
        told.contains(&format!("{bad}  dead letter at rows: ")),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_use_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    write_app(folder.path(), &unique("demo"));
    let verify = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        let command = command.arg("verify").arg("--app").arg(folder.path());
        let command = command.args(["--bootstrap", "127.0.0.1:1"]);
        command.args(arguments).output().unwrap()
    };
    for (arguments, code, part) in [
        (&["--since", "soon"][..], 64, "or a duration such as 90s"),
        (&["--wait", "2d"], 64, "at most a day"),
        (&["--sink", "nope"], 1, "no app has a sink `nope`"),
    ] {
        let refused = verify(arguments);
        assert_eq!(refused.status.code(), Some(code), "{}", text(&refused));
        assert!(text(&refused).contains(part), "{}", text(&refused));
    }
}
