//! Reads the folders of apps.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    App, Form, Location, PluginFacts, Plugins, Sink, Step, check,
    index::{AppIndex, Declared, Part},
    plugin,
};
use crate::config::SectionReader;
use crate::{
    config::{Diagnostic, Document, Environment},
    kafka::topic::{DEFAULT_PARTITIONS, Topic},
};

/// Reads `app.toml` of every folder and checks all apps together. All mistakes come back at once.
pub fn load(
    folders: &[PathBuf],
    plugins: &dyn Plugins,
    environment: Environment<'_>,
) -> Result<Vec<Arc<App>>, Vec<Diagnostic>> {
    let (mut apps, mut outlines) = (Vec::new(), Vec::new());
    let mut mistakes = Vec::new();
    for folder in folders {
        match load_one(folder, plugins, environment) {
            Ok(((app, outline), found)) => {
                apps.push(Arc::new(app));
                outlines.push(outline);
                mistakes.extend(found);
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    mistakes.extend(check::check(&outlines));
    if mistakes.is_empty() {
        return Ok(apps);
    }
    mistakes.sort();
    Err(mistakes)
}

/// What was read, and the mistakes in it. An app with mistakes is only part of what was written.
type Loaded = ((App, AppIndex), Vec<Diagnostic>);

fn load_one(
    folder: &Path,
    plugins: &dyn Plugins,
    environment: Environment<'_>,
) -> Result<Loaded, Diagnostic> {
    let file = folder.join("app.toml");
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let document = Document::new(file, text, environment);
            Ok(document.read(|root| read(root, folder, plugins)))
        }
        Err(error) => Err(Diagnostic {
            file,
            line: 0,
            problem: format!("the file cannot be read: {error}"),
            remedy: "name a folder that has an app.toml".to_owned(),
        }),
    }
}

fn read(root: &mut SectionReader<'_>, folder: &Path, plugins: &dyn Plugins) -> (App, AppIndex) {
    let (name, location) = read_name(root);
    let mut declared = each(root, "topic", Declared::read);
    let forms = each(root, "form", |section| Form::read(section, &name));
    let steps = each(root, "step", |section| {
        let step = Step::read(section, &name);
        let facts = plugin::check(&step, section, plugins).unwrap_or_default();
        (
            Part::of_step(&step, !facts.stores.is_empty()),
            (step, facts),
        )
    });
    let sinks = each(root, "sink", |section| Sink::read(section, &name));
    let (mut parts, forms): (Vec<Part>, Vec<_>) = forms.into_iter().unzip();
    let (step_parts, steps): (Vec<Part>, Vec<_>) = steps.into_iter().unzip();
    let (sink_parts, sinks): (Vec<Part>, Vec<_>) = sinks.into_iter().unzip();
    parts.extend(step_parts.into_iter().chain(sink_parts));
    let is_unread = |key: &&str| root.is_torn() || root.is_unread(key);
    if is_unread(&"topic") {
        declared.push(Declared::unknown(root.location()));
    }
    if ["form", "step", "sink"].iter().any(is_unread) {
        parts.push(Part::unknown(root.location()));
    }
    let (steps, facts): (Vec<Step>, Vec<PluginFacts>) = steps.into_iter().unzip();
    let mut app = App {
        topics: declared.iter().map(|one| one.topic.clone()).collect(),
        forms: forms.into_iter().flatten().map(Arc::new).collect(),
        steps: steps.into_iter().map(Arc::new).collect(),
        sinks: sinks.into_iter().flatten().map(Arc::new).collect(),
        folder: folder.to_owned(),
        name: name.clone(),
    };
    add_derived_topics(&mut app, &facts);
    let outline = AppIndex::new(name, location, declared, &app.topics, parts);
    (app, outline)
}

fn read_name(root: &mut SectionReader<'_>) -> (String, Location) {
    let remedy = "begin with [app] and name = \"…\"".to_owned();
    let Some(mut table) = root.table("app") else {
        root.require("app", remedy);
        return (String::new(), root.location());
    };
    let name = (table.required_name("name"), table.location());
    table.finish();
    name
}

fn each<T>(
    root: &mut SectionReader<'_>,
    key: &'static str,
    mut read: impl FnMut(&mut SectionReader<'_>) -> T,
) -> Vec<T> {
    let mut all = Vec::new();
    for mut section in root.tables(key) {
        all.push(read(&mut section));
        section.finish();
    }
    all
}

/// Outputs that nobody has declared, changelogs, topics of sinks and dead letters.
fn add_derived_topics(app: &mut App, facts: &[PluginFacts]) {
    let mut derived: BTreeMap<String, Topic> = BTreeMap::new();
    for name in app.steps.iter().flat_map(|step| step.output.values()) {
        if app.topic(name).is_none() {
            let (partitions, config) = (DEFAULT_PARTITIONS, BTreeMap::new());
            derived.insert(
                name.clone(),
                Topic {
                    name: name.clone(),
                    partitions,
                    config,
                },
            );
        }
    }
    app.topics.extend(derived.into_values());
    let changelogs: Vec<Topic> = (app.steps.iter().zip(facts))
        .filter_map(|(step, facts)| step.changelog(facts, &app.topics))
        .collect();
    app.topics.extend(changelogs);
    let own: Vec<Topic> = (app.sinks.iter())
        .flat_map(|sink| sink.own_topics(&app.topics))
        .collect();
    app.topics.extend(own);
    let dead_letters: Vec<Topic> = app.dead_letters().collect();
    app.topics.extend(dead_letters);
}
