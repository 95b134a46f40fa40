//! The environment of a bench: Kafka, PostgreSQL, a build of Formline, and the processes of both
//! sides.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use formline_core::Client;
use tempfile::TempDir;

use crate::{
    arguments::{Bench, Part},
    child::{self, Child, free_addresses},
    kafka::Kafka,
    postgres::Postgres,
    progress,
};

/// What all measurements of a run share.
#[derive(Debug)]
pub(super) struct Environment {
    // Fields are dropped in this order: Kafka and PostgreSQL before the folder that they write to.
    pub(super) kafka: Kafka,
    /// `None` if no part needs it.
    pub(super) postgres: Option<Postgres>,
    pub(super) client: Client,
    pub(super) seed: u32,
    formline: PathBuf,
    app: PathBuf,
    plugins: PathBuf,
    folder: TempDir,
}

/// The measured app, relative to the root of the repository.
const APP: &str = "apps/student-data";
/// The schema in the folder of the app.
pub(super) const SCHEMA: &str = "student-data.schema.json";
/// The script that builds the plug-ins, relative to the root of the repository.
const PLUGINS_SCRIPT: &str = "deploy/setup/plugins";

// === impl Environment ===

impl Environment {
    /// Finds or builds all programs, and starts Kafka unless its address was given.
    pub(super) async fn prepare(bench: &Bench, parts: &[Part], seed: u32) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("formline-loadtest-")
            .tempdir()?;
        let app = existing(Path::new(APP), "run this in the root of the repository")?;
        let formline = match &bench.formline {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("formline"),
        };
        let formline = existing(&formline, "build it, or set its path with --formline")?;
        let plugins = match &bench.plugins {
            Some(folder) => existing(
                folder,
                "build the plug-ins with make plugins, or omit --plugins",
            )?,
            None => build_plugins(folder.path()).await?,
        };
        let kafka = match &bench.bootstrap {
            Some(bootstrap) => Kafka::at(bootstrap),
            None => Kafka::start(folder.path()).await?,
        };
        progress::print(&format!("kafka {}", kafka.description));
        let postgres = if parts.iter().any(|part| matches!(part, Part::Postgres(_))) {
            Some(Postgres::start(folder.path()).await?)
        } else {
            None
        };
        let client = Client::new(&kafka.bootstrap, [].into());
        Ok(Self {
            kafka,
            postgres,
            client,
            seed,
            formline,
            app,
            plugins,
            folder,
        })
    }

    /// Starts `formline ingest`, waits until it is ready, and returns the address of its forms.
    pub(super) async fn ingest(&self) -> Result<(Child, SocketAddr)> {
        let [http, admin] = free_addresses()?;
        let mut command = self.formline("ingest", admin, &self.app, &self.plugins);
        command.arg("--http").arg(http.to_string());
        let mut child = Child::start("ingest", &mut command, self.folder.path())?;
        child.wait_ready(admin).await?;
        Ok((child, http))
    }

    /// Starts `formline process` with these steps, and waits until it is ready.
    pub(super) async fn steps(&self, steps: &[&str]) -> Result<Child> {
        let (mut child, admin) = self.process(&self.app, &self.plugins, steps)?;
        child.wait_ready(admin).await?;
        Ok(child)
    }

    /// Starts `formline process` with these steps of any app, and returns the address of its admin
    /// listener.
    pub(super) fn process(
        &self,
        app: &Path,
        plugins: &Path,
        steps: &[&str],
    ) -> Result<(Child, SocketAddr)> {
        let [admin] = free_addresses()?;
        let mut command = self.formline("process", admin, app, plugins);
        for step in steps {
            command.args(["--step", step]);
        }
        let child = Child::start("steps", &mut command, self.folder.path())?;
        Ok((child, admin))
    }

    /// Writes an app for the bench, together with the schema of student-data, and returns its
    /// folder.
    pub(super) fn app(&self, name: &str, settings: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join("apps").join(name);
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(self.app.join(SCHEMA), folder.join(SCHEMA))?;
        std::fs::write(folder.join("app.toml"), settings)?;
        Ok(folder)
    }

    /// Starts the bare counterpart of ingest, waits until it is ready, and returns its address.
    pub(super) async fn bare_handler(&self) -> Result<(Child, SocketAddr)> {
        let [http] = free_addresses()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare-handler", "--listen", &http.to_string()]);
        // The report uses the name of the counterpart.
        let mut child = Child::start("ingest", &mut command, self.folder.path())?;
        child.wait_ready(http).await?;
        Ok((child, http))
    }

    /// Starts the bare counterpart of steps, with at most `batch` records in a transaction. It is
    /// ready once it has copied a record.
    pub(super) fn bare_loops(&self, topics: &[&str], batch: usize) -> Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare-loops", "--bootstrap", &self.kafka.bootstrap]);
        command.args(["--batch", &batch.to_string()]);
        for topic in topics {
            command.args(["--topic", topic]);
        }
        Child::start("steps", &mut command, self.folder.path())
    }

    /// Starts `formline sink` with an app; `configure` sets its destination.
    pub(super) fn sink(&self, app: &Path, configure: impl FnOnce(&mut Command)) -> Result<Child> {
        let [admin] = free_addresses()?;
        let mut command = self.formline("sink", admin, app, &self.plugins);
        configure(&mut command);
        Child::start("sink", &mut command, self.folder.path())
    }

    /// Starts the bare counterpart of a PostgreSQL sink; `configure` sets its database.
    pub(super) fn bare_store(
        &self,
        topic: &str,
        batch: usize,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare-store", "--bootstrap", &self.kafka.bootstrap]);
        command.args(["--topic", topic, "--batch", &batch.to_string()]);
        configure(&mut command);
        // The report uses the name of the counterpart.
        Child::start("sink", &mut command, self.folder.path())
    }

    /// Starts `formline sheets-emulator` with Google's default quota, waits until it is ready, and
    /// returns its address.
    pub(super) async fn sheets_emulator(&self) -> Result<(Child, SocketAddr)> {
        let [address] = free_addresses()?;
        let mut command = Command::new(&self.formline);
        command.args([
            "sheets-emulator",
            "--quota",
            "--sheets",
            &address.to_string(),
        ]);
        command.arg("--data").arg(self.folder.path().join("data"));
        let mut child = Child::start("emulator", &mut command, self.folder.path())?;
        let is_listening = async || tokio::net::TcpStream::connect(address).await.is_ok();
        child.wait_until(is_listening).await?;
        Ok((child, address))
    }

    /// The processes whose CPU time is measured: these processes, Kafka if the bench started it,
    /// and this process, which is the generator.
    pub(super) fn watched<'a>(
        &'a self,
        processes: impl IntoIterator<Item = &'a Child>,
    ) -> Vec<(&'static str, u32)> {
        let children = processes.into_iter().chain(&self.kafka.node);
        let children = children.map(|child| (child.name(), child.id()));
        children
            .chain([("generator", std::process::id())])
            .collect()
    }

    /// The last lines of the logs, whose folder is removed at the end of the bench.
    pub(super) fn log_tail(&self) -> String {
        let tail = |name| child::log_tail(&self.folder.path().join(name));
        ["ingest.log", "steps.log", "sink.log"].map(tail).join("\n")
    }

    fn formline(&self, command: &str, admin: SocketAddr, app: &Path, plugins: &Path) -> Command {
        let mut formline = Command::new(&self.formline);
        formline.args([
            command,
            "--bootstrap",
            &self.kafka.bootstrap,
            "--admin",
            &admin.to_string(),
        ]);
        formline.arg("--app").arg(app);
        formline.arg("--plugins").arg(plugins);
        formline.arg("--data").arg(self.folder.path().join("data"));
        formline
    }
}

/// The absolute path of an existing file, because children have another working directory.
fn existing(path: &Path, remedy: &str) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("{} does not exist; {remedy}", path.display()))
}

async fn build_plugins(folder: &Path) -> Result<PathBuf> {
    progress::print("building the plug-ins");
    let plugins = folder.join("plugins");
    let status = tokio::process::Command::new(PLUGINS_SCRIPT)
        .arg(&plugins)
        // Standard output is for the report.
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .status()
        .await;
    let status = status.with_context(|| format!("failed to run {PLUGINS_SCRIPT}"))?;
    ensure!(status.success(), "{PLUGINS_SCRIPT} failed ({status})");
    Ok(plugins)
}

/// A seed from the clock, so that roll numbers of different runs differ.
pub(super) fn seed_from_clock() -> u32 {
    u32::try_from(now_ms() / 1000).unwrap_or(u32::MAX)
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(0)
}
