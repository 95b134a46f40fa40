//! Sinks, flush jobs, Redis and Google fail at random while clients submit. `formline verify` then
//! accounts for every submission.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use formline_testing::{
    Postgres, Process, RedisSet, eventually, free_port, kafka, plugins_dir, unique,
};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::support::{DEADLINE, Seed, copy_student_data, formline, is_drill, output_text, student};

/// All stages, each a process of its own.
struct Stages {
    app: String,
    folder: TempDir,
    bootstrap: String,
    http: Client,
    form: SocketAddr,
    sheets: SocketAddr,
    database: String,
    redis: RedisSet,
    emulator: Option<Process>,
    /// Ingest and the steps, which do not fail.
    upstream: Vec<Process>,
    sinks: Option<Process>,
    jobs: Vec<Process>,
}

#[derive(Clone, Copy, Debug)]
enum Failure {
    /// SIGKILL for the process of both sinks, which is then replaced.
    SinksKilled,
    /// A flush job beside the running sinks.
    FlushJob,
    /// SIGKILL for every flush job.
    JobsKilled,
    /// SIGKILL for the master of Redis.
    MasterKilled,
    /// A fail-over that an operator orders.
    FailOver,
    /// The emulator fails one of the next writes and one of the next reads, such as the one that
    /// checks whether the write was applied.
    Google,
    /// SIGKILL for the emulator. What it has acknowledged is on its disk.
    EmulatorKilled,
}

const FAILURES: [Failure; 8] = [
    Failure::SinksKilled,
    Failure::FlushJob,
    Failure::JobsKilled,
    Failure::MasterKilled,
    Failure::FailOver,
    Failure::Google,
    Failure::Google,
    Failure::EmulatorKilled,
];

const SUBMISSIONS: usize = 2_000;
const CLIENTS: usize = 20;
const FAILURES_PER_ROUND: u64 = 4;

/// Interval between two submissions of a client, so that failures occur between them.
const PACE: Duration = Duration::from_millis(30);

/// From this index on, a fault lets the write hang until the sink is killed.
const FIRST_HANGING_WRITE: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn under_failures_of_sinks_each_submission_has_one_row_and_one_record() {
    let mut seed = Seed::new();
    let rounds = if is_drill() { 50 } else { 1 };
    let mut stages = Stages::start(kafka().await.bootstrap()).await;
    for round in 1..=rounds {
        stages.run_round(round, &mut seed).await;
        stages.repair().await;
        let expected = round * SUBMISSIONS;
        stages.assert_all_delivered(expected);
        println!(
            "round {round} of {rounds}: {expected} submissions, each with one row and one record"
        );
    }
}

// === impl Stages ===

impl Stages {
    async fn start(bootstrap: &str) -> Self {
        let (app, folder) = (unique("student-data"), tempfile::tempdir().unwrap());
        copy_student_data(&folder.path().join("app"), &app);
        add_sinks(&folder.path().join("app/app.toml"), &app);
        let [form, sheets] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut stages = Self {
            app,
            folder,
            bootstrap: bootstrap.to_owned(),
            http: Client::builder().no_proxy().build().unwrap(),
            form,
            sheets,
            database: Postgres::shared().await.database(),
            redis: RedisSet::start().await,
            emulator: None,
            upstream: Vec::new(),
            sinks: None,
            jobs: Vec::new(),
        };
        stages.start_emulator();
        let form = stages.form.to_string();
        for arguments in [&["ingest", "--http", &form][..], &["process"]] {
            let process = stages.start_stage(arguments).await;
            stages.upstream.push(process);
        }
        stages.start_sinks();
        stages
    }

    /// A command with all settings.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = formline();
        command
            .args(arguments)
            .arg("--app")
            .arg(self.folder.path().join("app"))
            .args(["--bootstrap", &self.bootstrap])
            .env("FORMLINE_PLUGINS", plugins_dir())
            .env("FORMLINE_DATA", self.folder.path().join("data"))
            .env("FORMLINE_INSTANCE", "test")
            // The emulator enforces no quota here, and rounds must not wait for one.
            .env("FORMLINE_GOOGLE_CALLS_PER_MINUTE", "6000")
            .env("FORMLINE_POSTGRES_URL", &self.database)
            .env("FORMLINE_REDIS_SENTINELS", self.sentinels())
            .env("FORMLINE_REDIS_MASTER", RedisSet::MASTER);
        command
    }

    fn sentinels(&self) -> String {
        let all = self.redis.sentinels();
        let all: Vec<_> = all
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        all.join(",")
    }

    /// Starts a stage and waits until it is ready.
    async fn start_stage(&self, arguments: &[&str]) -> Process {
        let admin = format!("127.0.0.1:{}", free_port());
        let arguments = [arguments, &["--admin", &admin]].concat();
        let mut process = Process::spawn(&mut self.command(&arguments));
        process.wait_ready(&admin).await;
        process
    }

    fn start_sinks(&mut self) {
        let (sheets, admin) = (
            self.sheets.to_string(),
            format!("127.0.0.1:{}", free_port()),
        );
        let arguments = ["sink", "--sheets", &sheets, "--admin", &admin];
        self.sinks = Some(Process::spawn(&mut self.command(&arguments)));
    }

    fn start_emulator(&mut self) {
        let mut command = formline();
        command
            .args(["sheets-emulator", "--sheets", &self.sheets.to_string()])
            .arg("--data")
            .arg(self.folder.path().join("emulator"));
        self.emulator = Some(Process::spawn(&mut command));
    }

    fn start_job(&mut self) {
        let sheets = self.sheets.to_string();
        let arguments = ["flush", "--sink", "student-sheet", "--sheets", &sheets];
        self.jobs
            .push(Process::spawn(&mut self.command(&arguments)));
    }

    /// Clients submit, and failures occur after random numbers of accepted submissions.
    async fn run_round(&mut self, round: usize, seed: &mut Seed) {
        let accepted = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let url = format!("http://{}/{}-form", self.form, self.app);
            let (http, accepted) = (self.http.clone(), Arc::clone(&accepted));
            clients.spawn(async move {
                let mut ticks = interval(PACE);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                for n in 0..SUBMISSIONS / CLIENTS {
                    ticks.tick().await;
                    let student = student((round * CLIENTS + client) * SUBMISSIONS + n);
                    let response = http.post(&url).json(&student).send().await.unwrap();
                    assert_eq!(response.status(), StatusCode::ACCEPTED);
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut counts: Vec<usize> = (0..FAILURES_PER_ROUND)
            .map(|_| seed.index(SUBMISSIONS))
            .collect();
        counts.sort_unstable();
        for count in counts {
            eventually(DEADLINE, async || accepted.load(Ordering::Relaxed) >= count).await;
            let failure = FAILURES[seed.index(FAILURES.len())];
            println!("after {count} responses: {failure:?}");
            self.fail(failure, seed).await;
        }
        clients.join_all().await;
    }

    async fn fail(&mut self, failure: Failure, seed: &mut Seed) {
        match failure {
            Failure::SinksKilled => {
                self.sinks.as_mut().unwrap().kill9();
                self.start_sinks();
            }
            Failure::FlushJob => self.start_job(),
            Failure::JobsKilled => self.jobs.drain(..).for_each(|mut job| job.kill9()),
            Failure::MasterKilled => {
                let before = self.redis.port();
                self.redis.kill_master();
                self.redis.wait_for_other_master(before).await;
                self.redis.restart_dead().await;
            }
            Failure::FailOver => {
                let before = self.redis.port();
                self.redis.order_fail_over().await;
                self.redis.wait_for_other_master(before).await;
            }
            Failure::Google => self.inject_faults(seed).await,
            Failure::EmulatorKilled => {
                self.emulator.as_mut().unwrap().kill9();
                self.start_emulator();
            }
        }
    }

    /// Plans a fault of a write and one of a read. If the write is to hang, the sink is killed: it
    /// would wait as long as Google may take.
    async fn inject_faults(&mut self, seed: &mut Seed) {
        let writes = [
            json!({ "kind": "refuse", "status": 503 }),
            json!({ "kind": "refuse", "status": 429 }),
            json!({ "kind": "apply_then_status", "status": 500 }),
            json!({ "kind": "apply_then_cut" }),
            json!({ "kind": "delay", "delay_ms": 3000 }),
            json!({ "kind": "apply_twice" }),
            json!({ "kind": "apply_then_hang" }),
            json!({ "kind": "hang" }),
        ];
        let reads = [
            json!({ "kind": "refuse", "on": "read", "status": 503 }),
            json!({ "kind": "refuse", "on": "read", "status": 429 }),
            json!({ "kind": "apply_then_cut", "on": "read" }),
            json!({ "kind": "delay", "on": "read", "delay_ms": 3000 }),
        ];
        let (write, read) = (seed.index(writes.len()), seed.index(reads.len()));
        let faults = [&writes[write], &reads[read]];
        println!("  {} {}", faults[0], faults[1]);
        let url = format!("http://{}/admin/faults", self.sheets);
        let plan = self.http.post(url).json(&faults);
        // Fails while the emulator is starting.
        if plan.send().await.is_ok() && write >= FIRST_HANGING_WRITE {
            // No write may be due at the moment.
            let begun = self.wait_until_taken(&writes[write]);
            let _ = tokio::time::timeout(Duration::from_secs(1), begun).await;
            Box::pin(self.fail(Failure::SinksKilled, seed)).await;
        }
    }

    /// Waits until a call has met a planned fault, which the emulator then no longer lists.
    async fn wait_until_taken(&self, fault: &Value) {
        let url = format!("http://{}/admin/faults", self.sheets);
        eventually(DEADLINE, async || {
            let response = self.http.get(&url).send().await.ok()?;
            let planned: Vec<Value> = response.json().await.ok()?;
            let is_planned = planned.iter().any(|one| one["kind"] == fault["kind"]);
            (!is_planned).then_some(())
        })
        .await;
    }

    /// Removes the faults and waits for the flush jobs. The sinks must catch up by themselves.
    async fn repair(&mut self) {
        let url = format!("http://{}/admin/faults", self.sheets);
        eventually(DEADLINE, async || {
            let cleared = self.http.delete(&url).send().await;
            cleared.is_ok_and(|response| response.status().is_success())
        })
        .await;
        for mut job in self.jobs.drain(..) {
            // Jobs that were killed are no longer in the list.
            let status = job.wait().await;
            assert!(status.success(), "{}", job.log());
        }
    }

    /// Asserts that `formline verify` finds every accepted submission at both sinks, and none late.
    fn assert_all_delivered(&self, accepted: usize) {
        let sheets = self.sheets.to_string();
        let verify = ["verify", "--json", "--complete", "--wait", "3m"];
        let verify = [&verify[..], &["--sheets", &sheets]].concat();
        let output = self.command(&verify).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let text = output_text(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert_eq!(report["submissions"], accepted);
        let sinks = report["sinks"].as_array().unwrap();
        assert_eq!(sinks.len(), 2);
        for sink in sinks {
            println!("{}: {} late", sink["sink"], sink["late"]);
            assert_eq!(sink["delivered"], accepted, "{sink:#}");
            // The step is never killed, so it writes every row to its topic within seconds. Rows
            // that were read are written in order, however long they waited; only a row that
            // arrives after `hold_back_ms`, a minute, could be late.
            assert_eq!(sink["late"], 0, "{sink:#}");
        }
    }
}

/// Lets the sheets sink buffer in Redis, and adds an archive in PostgreSQL.
fn add_sinks(file: &Path, app: &str) {
    let mut text = fs::read_to_string(file).unwrap();
    text.push_str("buffer = \"redis\"\n\n[[sink]]\nname = \"archive\"\nkind = \"postgres\"\n");
    text.push_str(&format!("input = [\"{app}\"]\n"));
    fs::write(file, text).unwrap();
}
