//! PostgreSQL for tests, from Debian's packages: one for all of them, or one of its own for a test that breaks it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{Process, free_port, repository, unique};

/// A server on the loopback interface with a folder of its own.
#[derive(Debug)]
pub struct Postgres {
    folder: Arc<TempDir>,
    port: u16,
    process: Process,
}

/// Initialising a cluster and recovering one that was killed take seconds; the rest is for a busy machine.
const START: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(50);

const USER: &str = "formline";
const PASSWORD: &str = "secret";

// === impl Postgres ===

impl Postgres {
    /// The one that all tests of this process use together, each with a [`Self::database`] of its own.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_init(Self::start_own).await
    }

    /// A fresh one for a test that stops or kills it.
    ///
    /// # Panics
    /// When it cannot be made, or does not start within a minute.
    pub async fn start_own() -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        initialise(&folder);
        let port = free_port();
        let process = start(&folder, port).await;
        Self {
            folder,
            port,
            process,
        }
    }

    /// The address of a new, empty database. Its user may do everything.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn database(&self) -> String {
        let name = unique("db");
        let made = Command::new(program("createdb"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", USER, &name])
            .env("PGPASSWORD", PASSWORD)
            .status();
        assert!(made.is_ok_and(|code| code.success()), "createdb failed");
        format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{name}",
            self.port
        )
    }

    /// Does something to a database, as a person at `psql` would.
    ///
    /// # Panics
    /// When it is refused.
    pub fn execute(database: &str, sql: &str) {
        let mut psql = Command::new(program("psql"));
        let psql = psql.args([database, "--quiet", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        assert!(psql.status().is_ok_and(|code| code.success()), "{sql}");
    }

    /// SIGKILL for the server; its sessions notice and end. What was committed is there after [`Self::restart`].
    pub fn kill(&mut self) {
        self.process.kill9();
    }

    /// Starts it again with the same port and data, killing it first if it runs.
    ///
    /// # Panics
    /// With its output, when it does not start within a minute.
    pub async fn restart(&mut self) {
        self.kill();
        self.process = start(&self.folder, self.port).await;
    }
}

/// Makes a cluster whose user needs a password.
fn initialise(folder: &TempDir) {
    let (root, data) = (folder.path(), folder.path().join("data"));
    // The server's user has to get through.
    fs::set_permissions(root, Permissions::from_mode(0o711)).expect("our own folder");
    fs::create_dir(&data).expect("our own folder");
    if geteuid().is_root() {
        let given = Command::new("chown").arg("postgres").arg(&data).status();
        assert!(given.is_ok_and(|code| code.success()), "no user postgres");
    }
    let password = root.join("password");
    fs::write(&password, PASSWORD).expect("our own folder");
    let mut initdb = as_server("initdb");
    let initdb = initdb
        .args([
            "--no-sync",
            "--locale=C",
            "--encoding=UTF8",
            "--auth=scram-sha-256",
        ])
        .arg(format!("--username={USER}"))
        .arg(format!("--pwfile={}", password.display()))
        .arg("-D")
        .arg(&data)
        .stdin(Stdio::null())
        .output();
    let output = initdb.expect("initdb is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb: {said}");
}

async fn start(folder: &Arc<TempDir>, port: u16) -> Process {
    let launch = || {
        let mut server = as_server("postgres");
        server.arg("-D").arg(folder.path().join("data"));
        server.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""]);
        Process::spawn_in(&mut server, Arc::clone(folder))
    };
    let (mut process, end) = (launch(), Instant::now() + START);
    while !is_ready(port).await {
        let log = process.log();
        assert!(Instant::now() < end, "not ready within {START:?}:\n{log}");
        // Sessions of a server that was killed hold its memory for a moment, and then the next one refuses to start.
        if process.ended().is_some() {
            process = launch();
        }
        tokio::time::sleep(PAUSE).await;
    }
    process
}

async fn is_ready(port: u16) -> bool {
    let mut ask = tokio::process::Command::new(program("pg_isready"));
    ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
    ask.status().await.is_ok_and(|code| code.success())
}

/// The server and initdb refuse to run as root.
fn as_server(name: &str) -> Command {
    if !geteuid().is_root() {
        return Command::new(program(name));
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program(name))
        .current_dir("/");
    command
}

/// In the folder `FORMLINE_TEST_POSTGRES`, else where `deploy/setup/postgres` finds it.
fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| match std::env::var_os("FORMLINE_TEST_POSTGRES") {
        Some(folder) => folder.into(),
        None => {
            let script = repository().join("deploy/setup/postgres");
            let output = Command::new(&script).stderr(Stdio::inherit()).output();
            let output = output.expect("the script is there");
            assert!(output.status.success(), "{} failed", script.display());
            String::from_utf8_lossy(&output.stdout).trim().into()
        }
    });
    folder.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_own_one_comes_back_with_its_data() {
        let mut postgres = Postgres::start_own().await;
        let url = postgres.database();
        let ask = || {
            let mut ask = Command::new(program("psql"));
            ask.arg(&url).args(["-c", "SELECT 1"]).stderr(Stdio::null());
            ask.stdout(Stdio::null()).status().expect("psql").success()
        };
        assert!(ask());
        postgres.kill();
        assert!(!ask());
        postgres.restart().await;
        assert!(ask());
    }
}
