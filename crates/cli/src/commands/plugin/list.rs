//! `formline plugin list`: the files of the plug-in folder, the steps that use them or miss one, and what running
//! processes say of theirs.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use formline_core::{
    App,
    app::{Step, UnknownPlugins},
};
use formline_processors::{Catalog, CatalogEntry};
use serde_json::{Value, json};

use super::{
    super::{Mistakes, load_apps, open_catalog},
    running::Running,
    say,
};
use crate::arguments::{Folders, PluginList};

/// One file with the steps that run it.
struct Row {
    listed: CatalogEntry,
    steps: Vec<String>,
}

/// A step whose plug-in is not there.
struct Missing<'a> {
    step: String,
    plugin: &'a str,
}

/// Digits of a digest that a person sees: enough for an app to name the plug-in by.
pub(super) const DIGITS: usize = 12;

pub(super) fn run(arguments: &PluginList) -> Result<()> {
    let (folder, cache) = (arguments.plugins.path(), arguments.plugins.data.cache());
    let apps = load(&arguments.folders)?;
    let catalog = open_catalog(&folder, &cache)?.map_err(|mistake| Mistakes(vec![mistake]))?;
    let steps: Vec<&Arc<Step>> = apps.iter().flat_map(|app| &app.steps).collect();
    let rows: Vec<Row> = catalog
        .list()
        .into_iter()
        .map(|listed| Row {
            steps: users(&steps, &catalog, &listed.file),
            listed,
        })
        .collect();
    let missing: Vec<Missing<'_>> = steps
        .iter()
        .filter(|step| catalog.file_of(&step.plugin).is_none())
        .map(|step| Missing {
            step: step.title(),
            plugin: &step.plugin,
        })
        .collect();
    let running = Running::ask(&arguments.url.urls)?;
    if arguments.output.json {
        let mut answer = as_json(&rows, &missing);
        answer["running"] = running.iter().map(Running::json).collect();
        return say(&answer.to_string());
    }
    let mut answer: String = rows.iter().map(Row::text).collect();
    if rows.is_empty() {
        answer = format!("{} has no .wasm\n", folder.display());
    }
    for Missing { step, plugin } in missing {
        answer += &format!("{step}: there is no plug-in `{plugin}`\n");
    }
    answer.extend(running.iter().map(Running::text));
    say(&answer)
}

/// The apps without a look at their plug-ins: one that is missing is what this command is asked for. An author may have
/// no apps at all.
fn load(folders: &Folders) -> Result<Vec<Arc<App>>, Mistakes> {
    if folders.apps.is_empty() && !Path::new("apps").exists() {
        return Ok(Vec::new());
    }
    load_apps(folders, &UnknownPlugins)
}

fn users(steps: &[&Arc<Step>], catalog: &Catalog, file: &Path) -> Vec<String> {
    let using = steps
        .iter()
        .filter(|step| catalog.file_of(&step.plugin) == Some(file));
    using.map(|step| step.title()).collect()
}

// === impl Row ===

impl Row {
    fn text(&self) -> String {
        let Self { listed, steps } = self;
        let file = listed.file.file_name().unwrap_or_default().display();
        if let Some(problem) = &listed.problem {
            // What follows the first line is a backtrace.
            let problem = problem.lines().next().unwrap_or_default();
            return format!("{file}: cannot be used: {problem}\n");
        }
        let (name, version, summary) = (&listed.name, &listed.version, &listed.summary);
        let digest = &listed.digest[..DIGITS];
        let users = match steps.as_slice() {
            [] => "no step".to_owned(),
            steps => steps.join(", "),
        };
        format!("{file}: {name}@{version} sha256:{digest} usable\n  {summary}\n  used by {users}\n")
    }
}

fn as_json(rows: &[Row], missing: &[Missing<'_>]) -> Value {
    let plugins = rows.iter().map(|Row { listed, steps }| {
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
