//! Where a bench takes place: one Kafka, one build of Formline, and the processes of either side.

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

/// What all measurements of one run share.
#[derive(Debug)]
pub(super) struct Setting {
    // Before the folder that they write to, since fields are dropped in this order.
    pub(super) kafka: Kafka,
    /// None if no part needs one.
    pub(super) postgres: Option<Postgres>,
    pub(super) client: Client,
    pub(super) seed: u32,
    formline: PathBuf,
    app: PathBuf,
    plugins: PathBuf,
    folder: TempDir,
}

/// Relative to the repository's root.
const APP: &str = "apps/student-data";
/// In the folder of that app.
pub(super) const SCHEMA: &str = "student-data.schema.json";
const PLUGINS_SCRIPT: &str = "deploy/setup/plugins";

// === impl Setting ===

impl Setting {
    /// Finds or builds everything, and starts Kafka unless one was named.
    pub(super) async fn prepare(bench: &Bench, parts: &[Part], seed: u32) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("formline-loadtest-")
            .tempdir()?;
        let app = existing(Path::new(APP), "run this at the repository's root")?;
        let formline = match &bench.formline {
            Some(named) => named.clone(),
            None => std::env::current_exe()?.with_file_name("formline"),
        };
        let formline = existing(&formline, "build it, or name it with --formline PATH")?;
        let plugins = match &bench.plugins {
            Some(named) => existing(
                named,
                "build them with make plugins, or leave --plugins out",
            )?,
            None => build_plugins(folder.path()).await?,
        };
        let kafka = match &bench.bootstrap {
            Some(named) => Kafka::at(named),
            None => Kafka::start(folder.path()).await?,
        };
        progress::say(&format!("kafka {}", kafka.description));
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

    /// `formline ingest`, ready, and where its forms are.
    pub(super) async fn ingest(&self) -> Result<(Child, SocketAddr)> {
        let [http, admin] = free_addresses()?;
        let mut command = self.formline("ingest", admin, &self.app, &self.plugins);
        command.arg("--http").arg(http.to_string());
        let mut child = Child::start("ingest", &mut command, self.folder.path())?;
        child.ready(admin).await?;
        Ok((child, http))
    }

    /// `formline process` with these steps, ready.
    pub(super) async fn steps(&self, steps: &[&str]) -> Result<Child> {
        let (mut child, admin) = self.process(&self.app, &self.plugins, steps)?;
        child.ready(admin).await?;
        Ok(child)
    }

    /// `formline process` with these steps of any app, and where it will say that it is ready.
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

    /// An app that is there for the bench alone; the schema of student-data lies beside it.
    pub(super) fn app(&self, name: &str, settings: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join("apps").join(name);
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(self.app.join(SCHEMA), folder.join(SCHEMA))?;
        std::fs::write(folder.join("app.toml"), settings)?;
        Ok(folder)
    }

    /// The bare counterpart of ingest, ready, and where it listens.
    pub(super) async fn bare_handler(&self) -> Result<(Child, SocketAddr)> {
        let [http] = free_addresses()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare-handler", "--listen", &http.to_string()]);
        // The name in the report is that of what it stands for.
        let mut child = Child::start("ingest", &mut command, self.folder.path())?;
        child.ready(http).await?;
        Ok((child, http))
    }

    /// The bare counterpart of steps, with at most so many records in a transaction. It is ready when a record has passed.
    pub(super) fn bare_loops(&self, topics: &[&str], batch: usize) -> Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare-loops", "--bootstrap", &self.kafka.bootstrap]);
        command.args(["--batch", &batch.to_string()]);
        for topic in topics {
            command.args(["--topic", topic]);
        }
        Child::start("steps", &mut command, self.folder.path())
    }

    /// `formline sink` with an app; `configure` says where its destination is.
    pub(super) fn sink(&self, app: &Path, configure: impl FnOnce(&mut Command)) -> Result<Child> {
        let [admin] = free_addresses()?;
        let mut command = self.formline("sink", admin, app, &self.plugins);
        configure(&mut command);
        Child::start("sink", &mut command, self.folder.path())
    }

    /// The bare counterpart of a PostgreSQL sink; `configure` says where its database is.
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
        // The name in the report is that of what it stands for.
        Child::start("sink", &mut command, self.folder.path())
    }

    /// `formline sheets-emulator` with Google's default quota, ready, and where it listens.
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
        let listens = async || tokio::net::TcpStream::connect(address).await.is_ok();
        child.until(listens).await?;
        Ok((child, address))
    }

    /// What is measured beside these processes: the generator, which is this process, and Kafka if it is ours.
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

    /// How the logs end: the folder that they lie in goes when the bench ends.
    pub(super) fn last_words(&self) -> String {
        let words = |name| child::last_words(&self.folder.path().join(name));
        ["ingest.log", "steps.log", "sink.log"]
            .map(words)
            .join("\n")
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

/// The absolute path: children work in a folder of their own.
fn existing(path: &Path, remedy: &str) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("{} is not there; {remedy}", path.display()))
}

async fn build_plugins(folder: &Path) -> Result<PathBuf> {
    progress::say("building the plug-ins");
    let plugins = folder.join("plugins");
    let status = tokio::process::Command::new(PLUGINS_SCRIPT)
        .arg(&plugins)
        // Standard output is for the figures.
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .status()
        .await;
    let status = status.with_context(|| format!("{PLUGINS_SCRIPT} cannot be run"))?;
    ensure!(status.success(), "{PLUGINS_SCRIPT} failed ({status})");
    Ok(plugins)
}

/// Seconds since 1970, so that rolls of different runs differ.
pub(super) fn seed_of_now() -> u32 {
    u32::try_from(now_ms() / 1000).unwrap_or(u32::MAX)
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(0)
}
