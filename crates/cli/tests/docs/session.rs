//! A reader's terminal: a folder that looks like a clone in which `make up` has run once, the
//! services that the document asks for, and one shell environment for all blocks.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use formline_testing::{Postgres, Process, Redis, kafka, plugins_dir};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{
    document::{Action, Background, Block, Document},
    expectation,
    paths::repository,
    ports::Substitution,
    stubs,
};

pub(crate) struct Session {
    folder: TempDir,
    substitution: Substitution,
    environment: BTreeMap<&'static str, String>,
    /// Commands that keep running, by name.
    running: BTreeMap<String, Process>,
    /// The last executed block, and what it has printed.
    last: Option<(Script, String)>,
    _redis: Option<Redis>,
}

/// A block that was executed.
#[derive(Clone)]
struct Script {
    place: String,
    text: String,
    repeats: bool,
}

/// Addresses in documents, for which those of the services of this run are put.
const POSTGRES: &str = "postgres://USER:PASSWORD@127.0.0.1:5432/forms";
const REDIS: &str = "redis://127.0.0.1:6379";
const KAFKA: &str = "127.0.0.1:9092";

/// How long a block may take, which may build a plug-in, and how long one may be repeated.
const BLOCK: Duration = Duration::from_secs(300);
const REPEAT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(300);

// === impl Session ===

impl Session {
    pub(crate) async fn start(document: &Document) -> Self {
        let bootstrap = kafka().await.bootstrap().to_owned();
        let mut texts = vec![(KAFKA.to_owned(), bootstrap.clone())];
        let mut redis = None;
        for service in &document.needs {
            match service.as_str() {
                "postgres" => {
                    texts.push((POSTGRES.to_owned(), Postgres::shared().await.database()));
                }
                "redis" => {
                    let started = redis.insert(Redis::start_own().await);
                    texts.push((REDIS.to_owned(), started.url()));
                }
                other => panic!("{}: there is no service `{other}`", document.path),
            }
        }
        let apps = fs::read_dir(repository().join("apps")).unwrap();
        let apps = apps.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut substitution = Substitution::new(document, apps, texts);
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path(), &mut substitution);
        Self {
            environment: environment(folder.path(), bootstrap),
            folder,
            substitution,
            running: BTreeMap::new(),
            last: None,
            _redis: redis,
        }
    }

    pub(crate) async fn perform(&mut self, block: &Block) {
        let (place, text) = (block.place.clone(), self.substitution.apply(&block.text));
        match &block.action {
            Action::Run { repeats } => {
                let repeats = *repeats;
                let script = Script {
                    place,
                    text,
                    repeats,
                };
                let output = self.run_until(&script, |_| None).await;
                self.last = Some((script, output));
            }
            Action::Start(background) => self.start_background(background, &place, &text).await,
            Action::Write(path) => self.write(path, &text, false),
            Action::Append(path) => self.write(path, &text, true),
            Action::Expect => self.expect(&place, &text).await,
        }
    }

    /// Runs a block, again and again if it repeats, until it succeeds and nothing is missing.
    async fn run_until(&self, script: &Script, missing: impl Fn(&str) -> Option<String>) -> String {
        let end = Instant::now() + REPEAT;
        loop {
            let (is_success, output) = self.run(&script.text).await;
            let problem = match (is_success, missing(&output)) {
                (true, None) => return output,
                (false, _) => "the block has failed".to_owned(),
                (true, Some(line)) => format!("`{line}` is not in the output"),
            };
            if !script.repeats || Instant::now() > end {
                panic!(
                    "{}: {problem}\n--- output\n{output}\n{}",
                    script.place,
                    self.logs()
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn expect(&mut self, place: &str, expected: &str) {
        let (script, output) = self.last.take().expect("the parser has seen the block");
        let missing = |output: &str| expectation::missing(expected, output).map(str::to_owned);
        let output = match missing(&output) {
            None => output,
            Some(_) if script.repeats => self.run_until(&script, missing).await,
            Some(line) => {
                let logs = self.logs();
                panic!("{place}: `{line}` is not in the output\n--- output\n{output}\n{logs}");
            }
        };
        self.last = Some((script, output));
    }

    /// Whether the commands have succeeded, and both of their outputs.
    async fn run(&self, text: &str) -> (bool, String) {
        let root = self.folder.path().display();
        let script = format!(
            "exec 2>&1\n. {root}/.shell\ncd \"$(cat {root}/.folder)\"\nset -eu -o pipefail\n\
             {text}\nexport -p >{root}/.shell\npwd >{root}/.folder\n"
        );
        let mut bash = tokio::process::Command::from(self.bash(&script));
        let output = bash.stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(BLOCK, output).await;
        match output {
            Ok(output) => {
                let output = output.unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                (output.status.success(), text)
            }
            Err(_) => (false, format!("it has not ended within {BLOCK:?}")),
        }
    }

    async fn start_background(&mut self, background: &Background, place: &str, text: &str) {
        if let Some(mut before) = self.running.remove(&background.name) {
            before.terminate().await;
        }
        let root = self.folder.path().display();
        // The last command takes the place of the shell, so that it gets the signal to stop.
        let text = text.replace("\\\n", "");
        let (before, last) = text
            .trim_end()
            .rsplit_once('\n')
            .unwrap_or(("", text.trim_end()));
        let script = format!(
            ". {root}/.shell\ncd \"$(cat {root}/.folder)\"\nset -eu -o pipefail\n{before}\n\
             export -p >{root}/.shell\nexec env {last}\n"
        );
        let mut process = Process::spawn(&mut self.bash(&script));
        let address = format!("127.0.0.1:{}", self.substitution.port(background.port));
        if background.name.starts_with("formline") {
            process.wait_ready(&address).await;
        } else {
            let end = Instant::now() + REPEAT;
            while TcpStream::connect(&address).await.is_err() {
                let log = process.log();
                assert!(process.ended().is_none(), "{place}: it has ended\n{log}");
                assert!(Instant::now() < end, "{place}: nothing listens\n{log}");
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.running.insert(background.name.clone(), process);
    }

    fn bash(&self, script: &str) -> Command {
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(script).envs(&self.environment);
        bash.current_dir(self.folder.path());
        // Settings of the machine must not decide what a document does.
        for name in [
            "FORMLINE_DATA",
            "FORMLINE_PLUGINS",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ] {
            bash.env_remove(name);
        }
        bash
    }

    fn write(&mut self, path: &str, text: &str, appends: bool) {
        let file = self.folder.path().join(self.substitution.apply(path));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut options = fs::OpenOptions::new();
        let options = options.create(true).append(appends);
        let options = if appends {
            options
        } else {
            options.write(true).truncate(true)
        };
        let mut file = options.open(file).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// The last lines of everything that runs.
    fn logs(&self) -> String {
        const LINES: usize = 60;
        let logs = self.running.iter().map(|(name, process)| {
            let log = process.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LINES)..];
            format!("--- {name}\n{}\n", tail.join("\n"))
        });
        logs.collect()
    }
}

/// Fills the folder as a clone in which `make up` has run.
fn prepare(root: &Path, substitution: &mut Substitution) {
    for name in ["plugins", "crates", "deploy"] {
        symlink(repository().join(name), root.join(name)).unwrap();
    }
    copy_apps(&repository().join("apps"), &root.join("apps"), substitution);
    let plugins = root.join("formline-data/plugins");
    fs::create_dir_all(&plugins).unwrap();
    for entry in fs::read_dir(plugins_dir()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), plugins.join(entry.file_name())).unwrap();
    }
    let programs = root.join(".bin");
    fs::create_dir(&programs).unwrap();
    stubs::write(&programs, substitution);
    symlink(
        programs.join("formline"),
        root.join("formline-data/formline"),
    )
    .unwrap();
    fs::write(root.join(".shell"), "").unwrap();
    fs::write(root.join(".folder"), format!("{}\n", root.display())).unwrap();
}

/// Copies a folder, with this run's names in paths and texts.
fn copy_apps(from: &Path, to: &Path, substitution: &mut Substitution) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let target = to.join(substitution.apply(&name));
        if entry.file_type().unwrap().is_dir() {
            copy_apps(&entry.path(), &target, substitution);
        } else {
            let text = fs::read_to_string(entry.path()).unwrap();
            fs::write(target, substitution.apply(&text)).unwrap();
        }
    }
}

fn environment(root: &Path, bootstrap: String) -> BTreeMap<&'static str, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let postgres = stubs::installed("FORMLINE_TEST_POSTGRES", "deploy/setup/postgres", &[]);
    let programs = root.join(".bin");
    let path = format!("{}:{path}:{}", programs.display(), postgres.display());
    BTreeMap::from([
        ("PATH", path),
        ("FORMLINE_BOOTSTRAP", bootstrap),
        ("FORMLINE_INSTANCE", "docs".to_owned()),
        // Documents talk to loopback only, whatever proxy the machine has.
        ("NO_PROXY", "127.0.0.1,localhost".to_owned()),
        ("no_proxy", "127.0.0.1,localhost".to_owned()),
        ("CARGO_TARGET_DIR", plugins_target().display().to_string()),
    ])
}

/// Where all plug-ins are built, so that the SDK is compiled once.
fn plugins_target() -> PathBuf {
    match std::env::var_os("FORMLINE_PLUGINS_TARGET") {
        Some(folder) => folder.into(),
        None => Path::new(&std::env::var("HOME").unwrap()).join(".cache/formline-plugins"),
    }
}
