//! PostgreSQL for tests, from the packages of Debian: one that all tests share, or one that a test
//! may kill.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::names::{free_port, unique};
use crate::process::Process;
use crate::tools;

/// A server on the loopback interface.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    /// `None` for the server that `FORMLINE_TEST_POSTGRES_SERVER` names.
    own: Option<OwnServer>,
}

/// A server that this process has started, with its data in a temporary folder.
#[derive(Debug)]
struct OwnServer {
    folder: Arc<TempDir>,
    process: Process,
}

/// Maximum duration of a start. Initialisation and recovery take seconds on an idle machine.
const START: Duration = Duration::from_secs(60);

/// Interval between two checks whether the server is ready.
const INTERVAL: Duration = Duration::from_millis(50);

const USER: &str = "formline";
const PASSWORD: &str = "secret";

// === impl Postgres ===

impl Postgres {
    /// The server that all tests share, each with a [`Self::database`] of its own: the one that
    /// `FORMLINE_TEST_POSTGRES_SERVER` names (`127.0.0.1:PORT`), else one that lives as long as
    /// this process.
    ///
    /// # Panics
    /// If the variable is not such an address, or the server does not start within a minute.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        let open = async || match std::env::var("FORMLINE_TEST_POSTGRES_SERVER") {
            Ok(address) => {
                let port = address.strip_prefix("127.0.0.1:").map(str::parse);
                let port = port.and_then(Result::ok).expect("127.0.0.1:PORT");
                Self { port, own: None }
            }
            Err(_) => Self::start_own().await,
        };
        SHARED.get_or_init(open).await
    }

    /// A server of its own, for a test that kills it.
    ///
    /// # Panics
    /// If it cannot be initialised, or does not start within a minute.
    pub async fn start_own() -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        initialise(&folder);
        let port = free_port();
        let process = start(&folder, port).await;
        Self {
            port,
            own: Some(OwnServer { folder, process }),
        }
    }

    /// The URL of a new, empty database. Its user is a superuser.
    ///
    /// # Panics
    /// If the database cannot be created.
    #[must_use]
    pub fn database(&self) -> String {
        let name = unique("db");
        let created = Command::new(program("createdb"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", USER, &name])
            .env("PGPASSWORD", PASSWORD)
            .status();
        assert!(created.is_ok_and(|code| code.success()), "createdb failed");
        format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{name}",
            self.port
        )
    }

    /// Executes SQL in a database with `psql`, as an operator would.
    ///
    /// # Panics
    /// If it fails.
    pub fn execute(database: &str, sql: &str) {
        let mut psql = Command::new(program("psql"));
        let psql = psql.args([database, "--quiet", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        assert!(psql.status().is_ok_and(|code| code.success()), "{sql}");
    }

    /// SIGKILL for the server, which also ends its sessions. Committed data survive a
    /// [`Self::restart`].
    pub fn kill(&mut self) {
        self.own().process.kill9();
    }

    /// Starts the server with the same port and data. Kills it first if it runs.
    ///
    /// # Panics
    /// With its output, if it does not start within a minute.
    pub async fn restart(&mut self) {
        self.kill();
        let port = self.port;
        let own = self.own();
        own.process = start(&own.folder, port).await;
    }

    fn own(&mut self) -> &mut OwnServer {
        // `shared` returns no `&mut`, so only an own server gets here.
        self.own.as_mut().expect("an own server")
    }
}

/// Initialises a cluster with password authentication.
fn initialise(folder: &TempDir) {
    let (root, data) = (folder.path(), folder.path().join("data"));
    // The user of the server must be able to reach the data.
    fs::set_permissions(root, Permissions::from_mode(0o711)).expect("the folder is ours");
    fs::create_dir(&data).expect("the folder is ours");
    if geteuid().is_root() {
        let changed = Command::new("chown").arg("postgres").arg(&data).status();
        assert!(changed.is_ok_and(|code| code.success()), "no user postgres");
    }
    let password = root.join("password");
    fs::write(&password, PASSWORD).expect("the folder is ours");
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
    let output = initdb.expect("initdb is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb: {errors}");
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
        // For a moment the sessions of a killed server keep its shared memory, and a new server
        // refuses to start.
        if process.ended().is_some() {
            process = launch();
        }
        tokio::time::sleep(INTERVAL).await;
    }
    process
}

async fn is_ready(port: u16) -> bool {
    let mut pg_isready = tokio::process::Command::new(program("pg_isready"));
    pg_isready.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
    let status = pg_isready.status().await;
    status.is_ok_and(|code| code.success())
}

/// A program that runs as the user `postgres`, because the server and initdb refuse to run as root.
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

/// A program in the folder that `FORMLINE_TEST_POSTGRES` names or `deploy/setup/postgres` finds.
fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let find = || tools::find("FORMLINE_TEST_POSTGRES", "postgres", &[]);
    FOLDER.get_or_init(find).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_restarts_with_its_data() {
        let mut postgres = Postgres::start_own().await;
        let url = postgres.database();
        let answers = || {
            let mut psql = Command::new(program("psql"));
            psql.arg(&url)
                .args(["-c", "SELECT 1"])
                .stderr(Stdio::null());
            psql.stdout(Stdio::null()).status().expect("psql").success()
        };
        assert!(answers());
        postgres.kill();
        assert!(!answers());
        postgres.restart().await;
        assert!(answers());
    }
}
