//! The PostgreSQL that both sides write to: fresh, with the settings of Debian's package, on the loopback interface.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use formline_core::{EventId, settings::Secret};
use nix::unistd::geteuid;
use sqlx::{Connection as _, PgConnection};

use crate::child::{Child, free_addresses};

/// A server with its data in a folder of the bench.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// Where it is.
    pub(crate) url: Secret,
    /// What is known of it, for the report.
    pub(crate) description: String,
    server: Child,
    programs: PathBuf,
    data: PathBuf,
}

/// Relative to the repository's root.
const SCRIPT: &str = "deploy/setup/postgres";
const USER: &str = "formline";
const DATABASE: &str = "postgres";

// === impl Postgres ===

impl Postgres {
    /// Takes a few seconds, longer if Debian's packages have to be installed.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let programs = programs().await?;
        // Whoever may use the machine must not be able to use the server.
        let password = EventId::new().to_string();
        let data = initialise(&programs, folder, &password)?;
        let [address] = free_addresses()?;
        let mut run = as_server(&programs.join("postgres"));
        run.arg("-D").arg(&data);
        run.args(["-h", "127.0.0.1", "-p", &address.port().to_string()]);
        // No socket in a folder that others share.
        run.args(["-k", ""]);
        let mut server = Child::start("postgres", &mut run, folder)?;
        let url = format!("postgres://{USER}:{password}@{address}/{DATABASE}");
        server
            .until(async || PgConnection::connect(&url).await.is_ok())
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

    /// A connection to it.
    pub(crate) async fn connect(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(self.url.expose()).await?)
    }

    /// The process that all others of the server are children of.
    pub(crate) fn id(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Postgres {
    /// Its immediate shutdown. Killed, as the child would be, it would leave shared memory behind.
    fn drop(&mut self) {
        let mut stop = as_server(&self.programs.join("pg_ctl"));
        stop.args(["stop", "--silent", "--mode=immediate", "--timeout=5", "-D"]);
        // If that fails, killing it is what is left.
        let _ = stop.arg(&self.data).stderr(Stdio::null()).status();
    }
}

/// Makes a cluster whose user needs a password, and gives its folder.
fn initialise(programs: &Path, folder: &Path, password: &str) -> Result<PathBuf> {
    let (data, file) = (folder.join("postgres"), folder.join("postgres.password"));
    fs::create_dir(&data)?;
    fs::write(&file, password)?;
    if geteuid().is_root() {
        // The server's user has to get through.
        fs::set_permissions(folder, Permissions::from_mode(0o711))?;
        let given = Command::new("chown")
            .arg("postgres")
            .args([&data, &file])
            .status()?;
        ensure!(given.success(), "there is no user postgres on this machine");
    }
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    let output = as_server(&programs.join("initdb"))
        .args(["--no-sync", "--locale=C", "--encoding=UTF8"])
        .args(["--auth=scram-sha-256", "--username", USER])
        .arg("--pwfile")
        .arg(&file)
        .arg("-D")
        .arg(&data)
        .stdin(Stdio::null())
        .output()
        .context("initdb cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "initdb failed: {said}");
    Ok(data)
}

/// The folder of its programs: `FORMLINE_TEST_POSTGRES`, else where the script finds or installs them.
async fn programs() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("FORMLINE_TEST_POSTGRES") {
        return Ok(named.into());
    }
    let found = tokio::process::Command::new(SCRIPT)
        .stderr(Stdio::inherit())
        .output()
        .await;
    let found = found.with_context(|| format!("{SCRIPT} cannot be run"))?;
    ensure!(found.status.success(), "{SCRIPT} failed ({})", found.status);
    Ok(String::from_utf8(found.stdout)?.trim().into())
}

/// The server and initdb refuse to run as root.
fn as_server(program: &Path) -> Command {
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
