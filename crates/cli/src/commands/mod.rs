//! The commands, one file each. Those that run for long share `line`.

mod check;
mod dlq;
mod flush;
mod ingest;
mod plugin;
mod process;
mod sheets_emulator;
mod sink;
mod tap;
mod text;
mod top;
mod topics;
mod trace;
mod up;
mod verify;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use formline_core::{
    App, Client, Mistake, Settings,
    app::{self, Plugins, UnknownPlugins},
};
use formline_processors::Catalog;

use crate::arguments::{Apps, Command, Folders, Kafka, Topics};

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
        Command::Flush(arguments) => flush::run(&arguments),
        Command::SheetsEmulator(arguments) => sheets_emulator::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Topics(Topics::Apply(arguments)) => topics::apply(&arguments),
        Command::Plugin(command) => plugin::run(&command),
        Command::Tap(arguments) => tap::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
        Command::Dlq(command) => dlq::run(&command),
        Command::Verify(arguments) => verify::run(&arguments),
    }
}

// === impl Installation ===

impl Installation {
    /// Reads settings, plug-ins and apps, and refuses them if there is a mistake in any.
    pub(crate) fn load(arguments: &Apps) -> Result<Self> {
        let data = &arguments.plugins.data;
        let (plugins, cache) = (arguments.plugins.path(), data.cache());
        let mut mistakes = Vec::new();
        let settings =
            load_settings(&arguments.kafka).map_err(|Mistakes(found)| mistakes.extend(found));
        let catalog = open_catalog(&plugins, &cache)?.map_err(|found| mistakes.push(found));
        let known: &dyn Plugins = match &catalog {
            Ok(catalog) => catalog,
            Err(()) => &UnknownPlugins,
        };
        let apps = load_apps(&arguments.folders, known);
        let apps = apps.map_err(|Mistakes(found)| mistakes.extend(found));
        let apps = apps.and_then(|apps| {
            // Settings with mistakes may allow more than is known; then addresses are not judged.
            let networks = settings
                .as_ref()
                .map(|known| &*known.webhook_private_addresses);
            for app in &apps {
                mistakes.extend(formline_sinks::check(app, networks.ok()));
            }
            mistakes.is_empty().then_some(apps).ok_or(())
        });
        // Mistakes of all of them come out together.
        let (Ok(settings), Ok(_), Ok(apps)) = (settings, catalog, apps) else {
            return Err(Mistakes(mistakes).into());
        };
        Ok(Self {
            client: settings.client(),
            settings,
            apps,
            plugins,
            cache,
            data: data.data.clone(),
        })
    }
}

/// The plug-ins, or the mistake of naming a folder that cannot be read. That the machine cannot compile them is
/// nobody's mistake, and an error.
fn open_catalog(plugins: &Path, cache: &Path) -> Result<Result<Catalog, Mistake>> {
    match Catalog::open(plugins, cache) {
        Ok(catalog) => Ok(Ok(catalog)),
        Err(formline_processors::Error::Folder { path, source }) => Ok(Err(Mistake {
            file: path,
            line: 0,
            problem: format!("the plug-in folder cannot be read: {source}"),
            remedy: "put plug-ins there, or name their folder with --plugins DIR".to_owned(),
        })),
        Err(error) => Err(error.into()),
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

/// Client and apps for a command that asks nothing of plug-ins: it works while one is missing or broken.
fn load_without_plugins(folders: &Folders, kafka: &Kafka) -> Result<(Client, Vec<Arc<App>>)> {
    let (settings, apps) = load_settings_and_apps(folders, kafka)?;
    Ok((settings.client(), apps))
}

/// The same for one that asks others than Kafka as well.
fn load_settings_and_apps(folders: &Folders, kafka: &Kafka) -> Result<(Settings, Vec<Arc<App>>)> {
    let (settings, apps) = (load_settings(kafka), load_apps(folders, &UnknownPlugins));
    match (settings, apps) {
        (Ok(settings), Ok(apps)) => Ok((settings, apps)),
        (settings, apps) => {
            let found = [settings.err(), apps.err()].into_iter().flatten();
            Err(Mistakes(found.flat_map(|Mistakes(found)| found).collect()).into())
        }
    }
}

fn load_apps(folders: &Folders, plugins: &dyn Plugins) -> Result<Vec<Arc<App>>, Mistakes> {
    let folders = app_folders(&folders.apps).map_err(|mistake| Mistakes(vec![mistake]))?;
    app::load(&folders, plugins, &app::process_environment).map_err(Mistakes)
}

/// The folders that were named, or every folder of `./apps`.
fn app_folders(named: &[PathBuf]) -> Result<Vec<PathBuf>, Mistake> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let no_app = |problem: String| Mistake {
        file: PathBuf::from("./apps"),
        line: 0,
        problem,
        remedy: "run formline where the folder apps lies, or name an app with --app DIR".to_owned(),
    };
    let all = std::fs::read_dir("apps").and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let all = all.map_err(|error| no_app(format!("the folder cannot be read: {error}")))?;
    let mut folders: Vec<PathBuf> = all.into_iter().map(|entry| entry.path()).collect();
    folders.retain(|folder| folder.join("app.toml").exists());
    folders.sort();
    if folders.is_empty() {
        return Err(no_app("none of its folders has an app.toml".to_owned()));
    }
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
