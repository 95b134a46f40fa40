//! The ways out as they are in a bad week: sinks, flush jobs, Redis, its master and Google fail at random while people
//! submit. `formline verify` says what became of every submission.

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
use tokio::task::JoinSet;

use super::vocabulary::{PATIENCE, Seed, copy_app, is_drill, repository, student};

/// Everything that a submission passes, each part a process of its own.
struct Works {
    app: String,
    folder: TempDir,
    bootstrap: String,
    http: Client,
    form: SocketAddr,
    sheets: SocketAddr,
    database: String,
    redis: RedisSet,
    emulator: Option<Process>,
    line: Vec<Process>,
    sinks: Option<Process>,
    jobs: Vec<Process>,
}

/// A way in which a round goes wrong.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    /// SIGKILL for the process of both sinks, and a new one in its place.
    SinksKilled,
    /// A flush job beside the running sinks.
    FlushJob,
    /// SIGKILL for every flush job.
    JobsKilled,
    /// SIGKILL for the master of Redis.
    MasterKilled,
    /// The Sentinels are told to make another one the master.
    FailOver,
    /// The emulator spoils one of the next writes and one of the next reads, such as that which asks what became of it.
    Google,
    /// SIGKILL for the emulator: what it has answered is on its disk.
    EmulatorKilled,
}

const MISHAPS: [Mishap; 8] = [
    Mishap::SinksKilled,
    Mishap::FlushJob,
    Mishap::JobsKilled,
    Mishap::MasterKilled,
    Mishap::FailOver,
    Mishap::Google,
    Mishap::Google,
    Mishap::EmulatorKilled,
];

const SUBMISSIONS: usize = 2_000;
const CLIENTS: usize = 20;

/// Mishaps of one round.
const MISHAPS_A_ROUND: u64 = 4;

/// Between two submissions of a client, so that mishaps fall between them.
const PACE: Duration = Duration::from_millis(30);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_the_ways_out_each_submission_has_one_row_and_one_record() {
    let mut seed = Seed::new();
    let rounds = if is_drill() { 50 } else { 1 };
    let mut works = Works::build(kafka().await.bootstrap()).await;
    for round in 1..=rounds {
        works.suffer_a_round(round, &mut seed).await;
        works.recover().await;
        let expected = round * SUBMISSIONS;
        works.assert_all_is_well(expected);
        println!(
            "round {round} of {rounds}: {expected} submissions, each with one row and one record"
        );
    }
}

// === impl Works ===

impl Works {
    async fn build(bootstrap: &str) -> Self {
        let (app, folder) = (unique("student-data"), tempfile::tempdir().unwrap());
        copy_app(
            &repository().join("apps/student-data"),
            &folder.path().join("app"),
            &app,
        );
        add_sinks(&folder.path().join("app/app.toml"), &app);
        let [form, sheets] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut works = Self {
            app,
            folder,
            bootstrap: bootstrap.to_owned(),
            http: Client::builder().no_proxy().build().unwrap(),
            form,
            sheets,
            database: Postgres::shared().await.database(),
            redis: RedisSet::start().await,
            emulator: None,
            line: Vec::new(),
            sinks: None,
            jobs: Vec::new(),
        };
        works.start_emulator();
        let form = works.form.to_string();
        for part in [&["ingest", "--http", &form][..], &["process"]] {
            let process = works.start(part).await;
            works.line.push(process);
        }
        works.start_sinks();
        works
    }

    /// A command of formline with everything that it may need to know.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        command
            .args(arguments)
            .arg("--app")
            .arg(self.folder.path().join("app"))
            .args(["--bootstrap", &self.bootstrap])
            .env("FORMLINE_PLUGINS", plugins_dir())
            .env("FORMLINE_DATA", self.folder.path().join("data"))
            .env("FORMLINE_INSTANCE", "test")
            // The emulator counts nothing here, and a round is not to wait for a quota.
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

    /// Starts a part that has an admin listener, and waits until it is ready.
    async fn start(&self, arguments: &[&str]) -> Process {
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
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

    /// People submit, and mishaps come when a random number of submissions has been answered.
    async fn suffer_a_round(&mut self, round: usize, seed: &mut Seed) {
        let answered = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let url = format!("http://{}/{}-form", self.form, self.app);
            let (http, answered) = (self.http.clone(), Arc::clone(&answered));
            clients.spawn(async move {
                for n in 0..SUBMISSIONS / CLIENTS {
                    let roll = (round * CLIENTS + client) * SUBMISSIONS + n;
                    let answer = http.post(&url).json(&student(roll)).send().await.unwrap();
                    assert_eq!(answer.status(), StatusCode::ACCEPTED);
                    answered.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PACE).await;
                }
            });
        }
        let mut moments: Vec<usize> = (0..MISHAPS_A_ROUND)
            .map(|_| usize::try_from(seed.below(SUBMISSIONS as u64)).unwrap())
            .collect();
        moments.sort_unstable();
        for moment in moments {
            eventually(PATIENCE, async || {
                answered.load(Ordering::Relaxed) >= moment
            })
            .await;
            let mishap = MISHAPS[usize::try_from(seed.below(MISHAPS.len() as u64)).unwrap()];
            println!("after {moment} answers: {mishap:?}");
            self.suffer(mishap, seed).await;
        }
        clients.join_all().await;
    }

    async fn suffer(&mut self, mishap: Mishap, seed: &mut Seed) {
        match mishap {
            Mishap::SinksKilled => {
                self.sinks.as_mut().unwrap().kill9();
                self.start_sinks();
            }
            Mishap::FlushJob => self.start_job(),
            Mishap::JobsKilled => self.jobs.drain(..).for_each(|mut job| job.kill9()),
            Mishap::MasterKilled => {
                let before = self.redis.port();
                self.redis.kill_master();
                self.redis.wait_for_other_master(before).await;
                self.redis.restart_dead().await;
            }
            Mishap::FailOver => {
                let before = self.redis.port();
                self.redis.order_fail_over().await;
                self.redis.wait_for_other_master(before).await;
            }
            Mishap::Google => self.spoil_calls(seed).await,
            Mishap::EmulatorKilled => {
                self.emulator.as_mut().unwrap().kill9();
                self.start_emulator();
            }
        }
    }

    /// A write that hangs ends with the sink, which would wait for it for as long as Google may take.
    async fn spoil_calls(&mut self, seed: &mut Seed) {
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
        let mut roll = |faults: &[Value]| usize::try_from(seed.below(faults.len() as u64)).unwrap();
        let place = roll(&writes);
        let faults = [&writes[place], &reads[roll(&reads)]];
        println!("  {} {}", faults[0], faults[1]);
        let url = format!("http://{}/admin/faults", self.sheets);
        let plan = self.http.post(url).json(&faults);
        // It may be starting.
        if plan.send().await.is_ok() && place >= 6 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Box::pin(self.suffer(Mishap::SinksKilled, seed)).await;
        }
    }

    /// Everything is mended: what is left is for the line itself to catch up.
    async fn recover(&mut self) {
        let url = format!("http://{}/admin/faults", self.sheets);
        eventually(PATIENCE, async || {
            let cleared = self.http.delete(&url).send().await;
            cleared.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        for mut job in self.jobs.drain(..) {
            // Whoever was killed in between has no say; the others have ended well.
            let ended = job.wait().await;
            assert!(ended.success(), "{}", job.log());
        }
    }

    /// What an operator would ask: where is everything that was accepted?
    fn assert_all_is_well(&self, accepted: usize) {
        let sheets = self.sheets.to_string();
        let asked = [
            "verify",
            "--json",
            "--complete",
            "--wait",
            "3m",
            "--sheets",
            &sheets,
        ];
        let output = self.command(&asked).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{report:#} {told}");
        assert_eq!(report["submissions"], accepted);
        let sinks = report["sinks"].as_array().unwrap();
        assert_eq!(sinks.len(), 2);
        for sink in sinks {
            println!("{}: {} late", sink["sink"], sink["late"]);
            assert_eq!(sink["delivered"], accepted, "{sink:#}");
            // The step is never killed, so every row is on its topic within seconds. What has been read is written in
            // order, however long it waited; only what comes after `hold_back_ms`, a minute, could be late.
            assert_eq!(sink["late"], 0, "{sink:#}");
        }
    }
}

/// The sheet through Redis, and every response in PostgreSQL.
fn add_sinks(file: &Path, app: &str) {
    let mut text = fs::read_to_string(file).unwrap();
    text.push_str("buffer = \"redis\"\n\n[[sink]]\nname = \"archive\"\nkind = \"postgres\"\n");
    text.push_str(&format!("input = [\"{app}\"]\n"));
    fs::write(file, text).unwrap();
}
