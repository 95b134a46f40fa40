//! The PostgreSQL server that both sides write to: a new cluster with default settings, on the
//! loopback interface.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use formline_core::{EventId, Secret};
use nix::unistd::geteuid;
use sqlx::{Connection as _, PgConnection};

use crate::child::{Child, free_addresses};

/// A server whose data is in a folder of the bench.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// The URL of the database.
    pub(crate) url: Secret,
    /// The version, for the report.
    pub(crate) description: String,
    server: Child,
    programs: PathBuf,
    data: PathBuf,
}

/// The script that installs PostgreSQL, relative to the root of the repository.
const SCRIPT: &str = "deploy/setup/postgres";
const USER: &str = "formline";
const DATABASE: &str = "postgres";

// === impl Postgres ===

impl Postgres {
    /// Creates a cluster and starts a server. Takes a few seconds, or longer if packages must be
    /// installed.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let programs = programs().await?;
        // Other users of the machine must not have access to the server.
        let password = EventId::new().to_string();
        let data = create_cluster(&programs, folder, &password)?;
        let [address] = free_addresses()?;
        let mut run = as_postgres_user(&programs.join("postgres"));
        run.arg("-D").arg(&data);
        run.args(["-h", "127.0.0.1", "-p", &address.port().to_string()]);
        // No Unix socket in a shared folder.
        run.args(["-k", ""]);
        let mut server = Child::start("postgres", &mut run, folder)?;
        let url = format!("postgres://{USER}:{password}@{address}/{DATABASE}");
        server
            .wait_until(async || PgConnection::connect(&url).await.is_ok())
            .await?;
        let mut connection = PgConnection::connect(&url).await?;
        let version: String = sqlx::query_scalar("SHOW server_version")
            .fetch_one(&mut connection)
            .await?;
        Ok(Self {
            url: Secret::new(&url),
            description: format!("{version}, started for this run"),
            server,
            programs,
            data,
        })
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(self.url.expose()).await?)
    }

    /// The id of the server's parent process.
    pub(crate) fn id(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Postgres {
    /// Stops the server immediately. Killing it like other children would leave shared memory
    /// behind.
    fn drop(&mut self) {
        let mut stop = as_postgres_user(&self.programs.join("pg_ctl"));
        stop.args(["stop", "--silent", "--mode=immediate", "--timeout=5", "-D"]);
        // If it fails, dropping the child kills the server.
        let _ = stop.arg(&self.data).stderr(Stdio::null()).status();
    }
}

/// Creates a cluster whose user needs a password, and returns its folder.
fn create_cluster(programs: &Path, folder: &Path, password: &str) -> Result<PathBuf> {
    let (data, file) = (folder.join("postgres"), folder.join("postgres.password"));
    fs::create_dir(&data)?;
    fs::write(&file, password)?;
    if geteuid().is_root() {
        // The user of the server needs access to the folders inside.
        fs::set_permissions(folder, Permissions::from_mode(0o711))?;
        let status = Command::new("chown")
            .arg("postgres")
            .args([&data, &file])
            .status()?;
        ensure!(status.success(), "the user postgres does not exist");
    }
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    let output = as_postgres_user(&programs.join("initdb"))
        .args(["--no-sync", "--locale=C", "--encoding=UTF8"])
        .args(["--auth=scram-sha-256", "--username", USER])
        .arg("--pwfile")
        .arg(&file)
        .arg("-D")
        .arg(&data)
        .stdin(Stdio::null())
        .output()
        .context("failed to run initdb")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "initdb failed: {errors}");
    Ok(data)
}

/// The folder of PostgreSQL's programs: `FORMLINE_TEST_POSTGRES`, or else the one that the script
/// finds or installs.
async fn programs() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("FORMLINE_TEST_POSTGRES") {
        return Ok(folder.into());
    }
    let output = tokio::process::Command::new(SCRIPT)
        .stderr(Stdio::inherit())
        .output()
        .await;
    let output = output.with_context(|| format!("failed to run {SCRIPT}"))?;
    ensure!(
        output.status.success(),
        "{SCRIPT} failed ({})",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

/// A command that runs as the user postgres if this process is root, because the server and initdb
/// do not run as root.
fn as_postgres_user(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program)
        .current_dir("/");
    command
}
