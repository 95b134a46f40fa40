//! The commands, one file each. Those that run for long share `line`.

mod check;
mod ingest;
mod process;
mod sheets_emulator;
mod sink;
mod tap;
mod topics;
mod up;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use formline_core::{App, Client, Mistake, Settings, app};
use formline_processors::Catalog;

use crate::arguments::{Apps, Command, Kafka, Topics};

/// Everything that a command needs to know of the installation.
pub(crate) struct Installation {
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    pub(crate) apps: Vec<Arc<App>>,
    pub(crate) plugins: PathBuf,
    pub(crate) cache: PathBuf,
    pub(crate) data: PathBuf,
}

/// Mistakes in files that the operator wrote; the process ends as after wrong use.
#[derive(Debug)]
pub(crate) struct Mistakes(pub(crate) Vec<Mistake>);

/// Runs the command to its end.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Up(arguments) => up::run(&arguments),
        Command::Ingest(arguments) => ingest::run(&arguments),
        Command::Process(arguments) => process::run(&arguments),
        Command::Sink(arguments) => sink::run(&arguments),
        Command::SheetsEmulator(arguments) => sheets_emulator::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Topics(Topics::Apply(arguments)) => topics::apply(&arguments),
        Command::Tap(arguments) => tap::run(&arguments),
    }
}

// === impl Installation ===

impl Installation {
    /// Reads settings, plug-ins and apps, and refuses them if there is a mistake in any.
    pub(crate) fn load(arguments: &Apps) -> Result<Self> {
        let settings = load_settings(&arguments.kafka);
        let plugins = arguments
            .plugins
            .clone()
            .unwrap_or_else(|| arguments.data.join("plugins"));
        let cache = arguments.data.join("cache");
        let catalog = Catalog::open(&plugins, &cache)?;
        let apps = app::load(
            &app_folders(&arguments.apps)?,
            &catalog,
            &app::process_environment,
        );
        // Mistakes of both come out together.
        let (settings, apps) = match (settings, apps) {
            (Ok(settings), Ok(apps)) => (settings, apps),
            (settings, apps) => {
                let both = [settings.err().map(|Mistakes(found)| found), apps.err()];
                return Err(Mistakes(both.into_iter().flatten().flatten().collect()).into());
            }
        };
        let client = settings.client();
        let data = arguments.data.clone();
        Ok(Self {
            settings,
            client,
            apps,
            plugins,
            cache,
            data,
        })
    }
}

/// The settings, with the flag over them.
pub(crate) fn load_settings(kafka: &Kafka) -> Result<Settings, Mistakes> {
    let mut settings =
        Settings::load(kafka.settings.as_deref(), &app::process_environment).map_err(Mistakes)?;
    if let Some(bootstrap) = &kafka.bootstrap {
        settings.bootstrap.clone_from(bootstrap);
    }
    Ok(settings)
}

/// The folders that were named, or every folder of `./apps`.
fn app_folders(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let all = Path::new("apps");
    let entries = std::fs::read_dir(all)
        .context("cannot read ./apps; run formline where it lies, or name an app with --app DIR")?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.join("app.toml").exists() {
            folders.push(path);
        }
    }
    folders.sort();
    anyhow::ensure!(!folders.is_empty(), "no folder of ./apps has an app.toml");
    Ok(folders)
}

/// The parts that `--step` or `--sink` names as NAME or APP/NAME; all of them if none is named.
fn select<T>(
    all: Vec<T>,
    named: &[String],
    what: &str,
    name_of: fn(&T) -> (&str, &str),
) -> Result<Vec<T>> {
    let is = |part: &T, wanted: &str| {
        let (app, name) = name_of(part);
        wanted == name || wanted.split_once('/') == Some((app, name))
    };
    for wanted in named {
        let names = || {
            all.iter()
                .map(|part| format!("{}/{}", name_of(part).0, name_of(part).1))
        };
        let known = all.iter().any(|part| is(part, wanted));
        anyhow::ensure!(
            known,
            "no app has a {what} `{wanted}`; there are {}",
            names().collect::<Vec<_>>().join(", ")
        );
    }
    let chosen = |part: &T| named.is_empty() || named.iter().any(|wanted| is(part, wanted));
    Ok(all.into_iter().filter(chosen).collect())
}

// === impl Mistakes ===

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "{mistake}")?;
        }
        let count = self.0.len();
        write!(
            f,
            "{count} {}; nothing was started",
            if count == 1 { "mistake" } else { "mistakes" }
        )
    }
}

impl std::error::Error for Mistakes {}
