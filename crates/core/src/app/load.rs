//! Reads the folders of apps.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{App, Document, Form, Section, Sink, Step, check, step::PluginFacts, step::Plugins};
use crate::{
    mistake::Mistake,
    topic::{DEFAULT_PARTITIONS, Topic},
};

/// Where `${NAME}` comes from.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The variables of this process.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads `app.toml` of every folder and checks all apps together. All mistakes come back at once.
pub fn load(
    folders: &[PathBuf],
    plugins: &dyn Plugins,
    environment: Environment<'_>,
) -> Result<Vec<Arc<App>>, Vec<Mistake>> {
    let mut apps = Vec::with_capacity(folders.len());
    let mut mistakes = Vec::new();
    for folder in folders {
        let (app, found) = load_one(folder, plugins, environment);
        mistakes.extend(found);
        apps.extend(app);
    }
    // Half-read apps would only give mistakes that follow from others.
    if mistakes.is_empty() {
        mistakes = check::check(&apps);
    }
    if mistakes.is_empty() {
        Ok(apps.into_iter().map(Arc::new).collect())
    } else {
        Err(mistakes)
    }
}

fn load_one(
    folder: &Path,
    plugins: &dyn Plugins,
    environment: Environment<'_>,
) -> (Option<App>, Vec<Mistake>) {
    let file = folder.join("app.toml");
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let document = Document::new(file, text, environment);
            let (app, mistakes) = document.read(|root| read(root, folder, plugins));
            (Some(app), mistakes)
        }
        Err(error) => {
            let problem = format!("the file cannot be read: {error}");
            let remedy = "name a folder that has an app.toml".to_owned();
            (
                None,
                vec![Mistake {
                    file,
                    line: 0,
                    problem,
                    remedy,
                }],
            )
        }
    }
}

fn read(root: &mut Section<'_>, folder: &Path, plugins: &dyn Plugins) -> App {
    let name = match root.table("app") {
        Some(mut table) => {
            let name = table.required_name("name");
            table.finish();
            name
        }
        None => {
            root.mistake(
                "app",
                "the section [app] is missing",
                "begin with [app] and name = \"…\"",
            );
            String::new()
        }
    };
    let mut app = App {
        topics: each(root, "topic", |section| Some(read_topic(section))),
        forms: each(root, "form", |section| {
            Form::read(section, &name).map(Arc::new)
        }),
        steps: Vec::new(),
        sinks: each(root, "sink", |section| {
            Sink::read(section, &name).map(Arc::new)
        }),
        folder: folder.to_owned(),
        name,
    };
    let mut facts: Vec<PluginFacts> = Vec::new();
    app.steps = each(root, "step", |section| {
        let step = Step::read(section, &app.name);
        facts.push(step.check_plugin(section, plugins).unwrap_or_default());
        Some(Arc::new(step))
    });
    add_derived_topics(&mut app, &facts);
    app
}

fn each<T>(
    root: &mut Section<'_>,
    key: &'static str,
    mut read: impl FnMut(&mut Section<'_>) -> Option<T>,
) -> Vec<T> {
    let mut all = Vec::new();
    for mut section in root.tables(key) {
        // A section that could not be read has said why; its other keys were not all asked for.
        if let Some(one) = read(&mut section) {
            section.finish();
            all.push(one);
        }
    }
    all
}

fn read_topic(section: &mut Section<'_>) -> Topic {
    let name = section.required_text("name");
    if !name.is_empty() && !crate::topic::is_legal(&name) {
        section.mistake(
            "name",
            "kafka does not take this name",
            "use letters, digits, `.`, `_` and `-`",
        );
    }
    let partitions = section.integer("partitions", DEFAULT_PARTITIONS.into(), 1..=10_000);
    Topic {
        name,
        partitions: i32::try_from(partitions).unwrap_or(DEFAULT_PARTITIONS),
        config: section.text_map("config"),
    }
}

/// Outputs that nobody has declared, changelogs and dead letters.
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
    let dead_letters: Vec<Topic> = app.dead_letters().collect();
    app.topics.extend(dead_letters);
}
