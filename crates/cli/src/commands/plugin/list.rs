//! `formline plugin list`: lists the plug-in files, the steps that use them, the steps whose
//! plug-in is missing, and the plug-ins of running processes.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use formline_core::{
    App,
    app::{Step, UnknownPlugins},
};
use formline_processors::{Catalog, CatalogEntry};
use serde_json::{Value, json};

use super::{digest, running::RunningPlugins};
use crate::{
    arguments::{AppFolders, PluginListArgs},
    installation::{Diagnostics, load_apps, open_catalog},
    terminal,
};

/// A plug-in file and the steps that use it.
struct PluginFile {
    listed: CatalogEntry,
    steps: Vec<String>,
}

/// A step whose plug-in does not exist.
struct MissingPlugin<'a> {
    step: String,
    plugin: &'a str,
}

pub(super) fn run(arguments: &PluginListArgs) -> Result<()> {
    let (folder, cache) = (arguments.plugins.path(), arguments.plugins.data.cache());
    let apps = load(&arguments.folders)?;
    let catalog = open_catalog(&folder, &cache)?.map_err(|found| Diagnostics(vec![found]))?;
    let steps: Vec<&Arc<Step>> = apps.iter().flat_map(|app| &app.steps).collect();
    let files: Vec<PluginFile> = catalog
        .list()
        .into_iter()
        .map(|listed| PluginFile {
            steps: steps_using(&listed.file, &steps, &catalog),
            listed,
        })
        .collect();
    let missing: Vec<MissingPlugin<'_>> = steps
        .iter()
        .filter(|step| catalog.file_of(&step.plugin).is_none())
        .map(|step| MissingPlugin {
            step: step.title(),
            plugin: &step.plugin,
        })
        .collect();
    let running = RunningPlugins::query(&arguments.url.urls)?;
    if arguments.output.json {
        let mut object = as_json(&files, &missing);
        object["running"] = running.iter().map(RunningPlugins::json).collect();
        return terminal::print(&object.to_string());
    }
    let mut text: String = files.iter().map(PluginFile::text).collect();
    if files.is_empty() {
        text = format!("{} contains no .wasm file\n", folder.display());
    }
    for MissingPlugin { step, plugin } in missing {
        text += &format!("{step}: there is no plug-in `{plugin}`\n");
    }
    text.extend(running.iter().map(RunningPlugins::text));
    terminal::print(&text)
}

/// Loads the apps without checking their plug-ins, so that missing ones can be listed. An author of
/// plug-ins may have no apps at all.
fn load(folders: &AppFolders) -> Result<Vec<Arc<App>>, Diagnostics> {
    if folders.apps.is_empty() && !Path::new("apps").exists() {
        return Ok(Vec::new());
    }
    load_apps(folders, &UnknownPlugins)
}

fn steps_using(file: &Path, steps: &[&Arc<Step>], catalog: &Catalog) -> Vec<String> {
    let using = steps
        .iter()
        .filter(|step| catalog.file_of(&step.plugin) == Some(file));
    using.map(|step| step.title()).collect()
}

// === impl PluginFile ===

impl PluginFile {
    fn text(&self) -> String {
        let Self { listed, steps } = self;
        let file = listed.file.file_name().unwrap_or_default().display();
        if let Some(problem) = &listed.problem {
            // The lines below the first are a backtrace.
            let problem = problem.lines().next().unwrap_or_default();
            return format!("{file}: cannot be used: {problem}\n");
        }
        let (name, version, summary) = (&listed.name, &listed.version, &listed.summary);
        let digest = digest::short(&listed.digest);
        let users = match steps.as_slice() {
            [] => "no step".to_owned(),
            steps => steps.join(", "),
        };
        format!("{file}: {name}@{version} sha256:{digest} usable\n  {summary}\n  used by {users}\n")
    }
}

fn as_json(files: &[PluginFile], missing: &[MissingPlugin<'_>]) -> Value {
    let plugins = files.iter().map(|PluginFile { listed, steps }| {
        json!({
            "file": listed.file,
            "name": listed.name,
            "version": listed.version,
            "summary": listed.summary,
            "digest": listed.digest,
            "problem": listed.problem,
            "steps": steps,
        })
    });
    let missing = missing
        .iter()
        .map(|missing| json!({ "step": missing.step, "plugin": missing.plugin }));
    json!({
        "plugins": plugins.collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(),
    })
}
