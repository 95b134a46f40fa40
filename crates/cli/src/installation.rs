//! Loads what a command needs: settings, plug-ins and apps. Reports all errors in them together.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use formline_core::{
    App, Client, Diagnostic, Settings,
    app::{self, Plugins, UnknownPlugins},
};
use formline_processors::Catalog;

use crate::arguments::{AppFolders, InstallationArgs, KafkaArgs};

/// The checked settings and apps, with the folders of the installation.
pub(crate) struct Installation {
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    pub(crate) apps: Vec<Arc<App>>,
    pub(crate) plugins: PathBuf,
    pub(crate) cache: PathBuf,
    pub(crate) data: PathBuf,
}

/// Errors in files that the operator wrote. The process exits as after wrong usage.
#[derive(Debug)]
pub(crate) struct Diagnostics(pub(crate) Vec<Diagnostic>);

// === impl Installation ===

impl Installation {
    /// Loads settings, plug-ins and apps.
    ///
    /// # Errors
    /// [`Diagnostics`] with every error in any of them, or another error if plug-ins cannot be
    /// compiled on this machine.
    pub(crate) fn load(arguments: &InstallationArgs) -> Result<Self> {
        let data = &arguments.plugins.data;
        let (plugins, cache) = (arguments.plugins.path(), data.cache());
        let mut diagnostics = Vec::new();
        let settings =
            load_settings(&arguments.kafka).map_err(|Diagnostics(found)| diagnostics.extend(found));
        let catalog = open_catalog(&plugins, &cache)?.map_err(|found| diagnostics.push(found));
        let known: &dyn Plugins = match &catalog {
            Ok(catalog) => catalog,
            Err(()) => &UnknownPlugins,
        };
        let apps = load_apps(&arguments.folders, known);
        let apps = apps.map_err(|Diagnostics(found)| diagnostics.extend(found));
        let apps = apps.and_then(|apps| {
            diagnostics.extend(check_sinks(&apps, settings.as_ref().ok()));
            diagnostics.is_empty().then_some(apps).ok_or(())
        });
        let (Ok(settings), Ok(_), Ok(apps)) = (settings, catalog, apps) else {
            return Err(Diagnostics(diagnostics).into());
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

/// Checks what only the sinks know. Without valid settings webhook addresses are not checked: the
/// settings may allow more than is known.
fn check_sinks(apps: &[Arc<App>], settings: Option<&Settings>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for app in apps {
        let networks = settings.map(|settings| &*settings.webhook_private_addresses);
        found.extend(formline_sinks::check(app, networks));
    }
    found
}

/// The plug-in catalog, or a diagnostic if the folder cannot be read.
///
/// # Errors
/// If plug-ins cannot be compiled on this machine, which is not an error of the operator.
pub(crate) fn open_catalog(plugins: &Path, cache: &Path) -> Result<Result<Catalog, Diagnostic>> {
    match Catalog::open(plugins, cache) {
        Ok(catalog) => Ok(Ok(catalog)),
        Err(formline_processors::Error::Folder { path, source }) => Ok(Err(Diagnostic {
            file: path,
            line: 0,
            problem: format!("the plug-in folder cannot be read: {source}"),
            remedy: "put plug-ins there, or name their folder with --plugins DIR".to_owned(),
        })),
        Err(error) => Err(error.into()),
    }
}

/// The settings, with `--bootstrap` applied.
pub(crate) fn load_settings(kafka: &KafkaArgs) -> Result<Settings, Diagnostics> {
    let settings = Settings::load(kafka.settings.as_deref(), &app::process_environment);
    let mut settings = settings.map_err(Diagnostics)?;
    if let Some(bootstrap) = &kafka.bootstrap {
        settings.bootstrap.clone_from(bootstrap);
    }
    Ok(settings)
}

/// Client and apps for a command that does not need plug-ins, and works while one is missing or
/// broken.
pub(crate) fn load_without_plugins(
    folders: &AppFolders,
    kafka: &KafkaArgs,
) -> Result<(Client, Vec<Arc<App>>)> {
    let (settings, apps) = load_settings_and_apps(folders, kafka)?;
    Ok((settings.client(), apps))
}

/// As [`load_without_plugins`], for a command that connects to more than Kafka.
pub(crate) fn load_settings_and_apps(
    folders: &AppFolders,
    kafka: &KafkaArgs,
) -> Result<(Settings, Vec<Arc<App>>)> {
    let (settings, apps) = (load_settings(kafka), load_apps(folders, &UnknownPlugins));
    match (settings, apps) {
        (Ok(settings), Ok(apps)) => Ok((settings, apps)),
        (settings, apps) => {
            let found = [settings.err(), apps.err()].into_iter().flatten();
            let found = found.flat_map(|Diagnostics(found)| found);
            Err(Diagnostics(found.collect()).into())
        }
    }
}

/// The apps in the given folders, or in every folder of `./apps`.
pub(crate) fn load_apps(
    folders: &AppFolders,
    plugins: &dyn Plugins,
) -> Result<Vec<Arc<App>>, Diagnostics> {
    let folders = app_folders(&folders.apps).map_err(|found| Diagnostics(vec![found]))?;
    app::load(&folders, plugins, &app::process_environment).map_err(Diagnostics)
}

fn app_folders(named: &[PathBuf]) -> Result<Vec<PathBuf>, Diagnostic> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let no_app = |problem: String| Diagnostic {
        file: PathBuf::from("./apps"),
        line: 0,
        problem,
        remedy: "run formline in the folder that contains apps, or name an app with --app DIR"
            .to_owned(),
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

/// The steps or sinks that were named as NAME or APP/NAME; all of them if none was named.
///
/// # Errors
/// If a name matches nothing.
pub(crate) fn select<T>(
    all: Vec<T>,
    named: &[String],
    kind: &str,
    name_of: fn(&T) -> (&str, &str),
) -> Result<Vec<T>> {
    let matches = |item: &T, wanted: &str| {
        let (app, name) = name_of(item);
        wanted == name || wanted.split_once('/') == Some((app, name))
    };
    for wanted in named {
        let names = || {
            all.iter()
                .map(|item| format!("{}/{}", name_of(item).0, name_of(item).1))
        };
        let is_known = all.iter().any(|item| matches(item, wanted));
        anyhow::ensure!(
            is_known,
            "no app has a {kind} `{wanted}`; there are {}",
            names().collect::<Vec<_>>().join(", ")
        );
    }
    let chosen = |item: &T| named.is_empty() || named.iter().any(|wanted| matches(item, wanted));
    Ok(all.into_iter().filter(chosen).collect())
}

// === impl Diagnostics ===

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.0 {
            writeln!(f, "{diagnostic}")?;
        }
        let count = self.0.len();
        let errors = if count == 1 { "error" } else { "errors" };
        write!(f, "{count} {errors}; nothing was started")
    }
}

impl std::error::Error for Diagnostics {}
