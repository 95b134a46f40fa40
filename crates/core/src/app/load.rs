//! Reads the folders of apps.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    binding, check,
    definition::App,
    form::Form,
    index::{AppIndex, Node, TopicDeclaration},
    plugin::{PluginFacts, Plugins},
    sink::Sink,
    step::Step,
};
use crate::{
    config::{
        ConfigKey, Diagnostic, Document, Environment, Location, SectionReader,
        keys::app_toml::{self as keys, file},
    },
    kafka::topic::{DEFAULT_PARTITIONS, Topic},
};

/// Reads `app.toml` of every folder and checks all apps together.
///
/// # Errors
///
/// Returns the diagnostics of all apps, in the order of files and lines.
pub fn load(
    folders: &[PathBuf],
    plugins: &dyn Plugins,
    environment: Environment<'_>,
) -> Result<Vec<Arc<App>>, Vec<Diagnostic>> {
    let (mut apps, mut indexes) = (Vec::new(), Vec::new());
    let mut diagnostics = Vec::new();
    for folder in folders {
        match load_one(folder, plugins, environment) {
            Ok(((app, index), found)) => {
                apps.push(Arc::new(app));
                indexes.push(index);
                diagnostics.extend(found);
            }
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
    }
    diagnostics.extend(check::check(&indexes));
    if diagnostics.is_empty() {
        return Ok(apps);
    }
    diagnostics.sort();
    Err(diagnostics)
}

/// An app and the diagnostics about it. With diagnostics, the app is only a part of the file.
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
            let read = |root: &mut SectionReader<'_>| read(root, folder, plugins);
            Ok(SectionReader::read_document(document, &file::SECTION, read))
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
    let mut declared = each(root, &file::TOPIC, TopicDeclaration::read);
    let forms = each(root, &file::FORM, |section| Form::read(section, &name));
    let steps = each(root, &file::STEP, |section| {
        let step = Step::read(section, &name);
        let facts = binding::check(&step, section, plugins).unwrap_or_default();
        (step.node(!facts.stores.is_empty()), (step, facts))
    });
    let sinks = each(root, &file::SINK, |section| Sink::read(section, &name));
    let (mut nodes, forms): (Vec<Node>, Vec<_>) = forms.into_iter().unzip();
    let (step_nodes, steps): (Vec<Node>, Vec<_>) = steps.into_iter().unzip();
    let (sink_nodes, sinks): (Vec<Node>, Vec<_>) = sinks.into_iter().unzip();
    nodes.extend(step_nodes.into_iter().chain(sink_nodes));
    let is_unread = |key: &ConfigKey| root.is_torn() || root.is_unread(key);
    if is_unread(&file::TOPIC) {
        declared.push(TopicDeclaration::unknown(root.location()));
    }
    if [&file::FORM, &file::STEP, &file::SINK]
        .into_iter()
        .any(is_unread)
    {
        nodes.push(Node::unknown(root.location()));
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
    let index = AppIndex::new(name, location, declared, &app.topics, nodes);
    (app, index)
}

fn read_name(root: &mut SectionReader<'_>) -> (String, Location) {
    let Some(mut table) = root.table(&file::APP) else {
        return (String::new(), root.location());
    };
    let name = (table.text(&keys::app::NAME), table.location());
    table.finish();
    name
}

fn each<T>(
    root: &mut SectionReader<'_>,
    key: &'static ConfigKey,
    mut read: impl FnMut(&mut SectionReader<'_>) -> T,
) -> Vec<T> {
    let mut all = Vec::new();
    for mut section in root.tables(key) {
        all.push(read(&mut section));
        section.finish();
    }
    all
}

/// Adds undeclared outputs, changelogs, topics of sinks and dead-letter topics.
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
