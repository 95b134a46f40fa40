//! Holds the parts of all apps against each other. What one section says of itself was checked when it was read.

use std::collections::{BTreeMap, BTreeSet};

use super::{App, Location};
use crate::{
    mistake::{Mistake, nearest},
    topic::{self, Topic},
};

/// Notes mistakes at places of files.
#[derive(Default)]
struct Notes(Vec<Mistake>);

/// All mistakes between the parts.
pub(super) fn check(apps: &[App]) -> Vec<Mistake> {
    let mut notes = Notes::default();
    notes.unique_names(apps);
    notes.unique_paths(apps);
    for app in apps {
        notes.topics(app);
        notes.partitions(app);
        notes.cycles(app);
    }
    notes.0.sort();
    notes.0
}

// === impl Notes ===

impl Notes {
    fn note(&mut self, at: &Location, problem: String, remedy: String) {
        let Location { file, line } = at;
        self.0.push(Mistake {
            file: file.to_path_buf(),
            line: *line,
            problem,
            remedy,
        });
    }

    /// Apps, forms, and the consumer groups of steps and sinks.
    fn unique_names(&mut self, apps: &[App]) {
        let mut seen: BTreeMap<String, &Location> = BTreeMap::new();
        for app in apps {
            let forms = app
                .forms
                .iter()
                .map(|form| (format!("form `{}`", form.name), &form.location));
            let steps = app
                .steps
                .iter()
                .map(|step| (topic::group(&app.name, &step.name), &step.location));
            let sinks = app
                .sinks
                .iter()
                .map(|sink| (topic::group(&app.name, &sink.name), &sink.location));
            for (name, location) in forms.chain(steps).chain(sinks) {
                if let Some(first) = seen.get(&name) {
                    let problem = format!("{name} is declared twice, first in line {}", first.line);
                    self.note(location, problem, "give it another name".to_owned());
                }
                seen.entry(name).or_insert(location);
            }
        }
    }

    fn unique_paths(&mut self, apps: &[App]) {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for form in apps.iter().flat_map(|app| &app.forms) {
            if let Some(first) = seen.insert(&form.path, &form.name) {
                let problem = format!("path {} belongs to form `{first}` already", form.path);
                self.note(&form.location, problem, "choose another path".to_owned());
            }
        }
    }

    /// Every topic that is read must be there, and every one that is declared must join something.
    fn topics(&mut self, app: &App) {
        let mut used: BTreeSet<&str> = app
            .steps
            .iter()
            .flat_map(|step| step.output.values())
            .map(String::as_str)
            .collect();
        for form in &app.forms {
            self.declared(app, &form.location, &form.topic);
            used.insert(&form.topic);
        }
        for step in &app.steps {
            for name in step.input.values().flatten() {
                self.declared(app, &step.location, name);
                used.insert(name);
            }
        }
        for sink in &app.sinks {
            for name in &sink.input {
                self.declared(app, &sink.location, name);
                used.insert(name);
            }
        }
        let written: BTreeSet<&str> = (app.forms.iter().map(|form| form.topic.as_str()))
            .chain(
                app.steps
                    .iter()
                    .flat_map(|step| step.output.values())
                    .map(String::as_str),
            )
            .collect();
        for sink in &app.sinks {
            for name in sink
                .input
                .iter()
                .filter(|name| !written.contains(name.as_str()))
            {
                if app.topic(name).is_some() {
                    let problem = format!("nothing of the app writes topic `{name}`");
                    let remedy = "let a form or step write it".to_owned();
                    self.note(&sink.location, problem, remedy);
                }
            }
        }
        let is_derived =
            |topic: &&Topic| topic.name.ends_with(".state") || topic.name.ends_with(".dead-letter");
        for topic in app.topics.iter().filter(|topic| !is_derived(topic)) {
            if !used.contains(topic.name.as_str()) {
                let at = Location {
                    file: app.folder.join("app.toml").into(),
                    line: 0,
                };
                let problem = format!("topic `{}` joins nothing", topic.name);
                self.note(
                    &at,
                    problem,
                    "let a form write it or a step or sink read it, or remove it".to_owned(),
                );
            }
        }
    }

    fn declared(&mut self, app: &App, at: &Location, name: &str) {
        if app.topic(name).is_some() {
            return;
        }
        let known = app.topics.iter().map(|topic| topic.name.as_str());
        let remedy = match nearest(name, known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("declare it with [[topic]] and name = \"{name}\""),
        };
        self.note(at, format!("there is no topic `{name}`"), remedy);
    }

    /// A step with state sees the records of a key only if all inputs put that key on the same partition number.
    fn partitions(&mut self, app: &App) {
        for step in &app.steps {
            if app.topic(&step.state_topic()).is_none() {
                continue;
            }
            let inputs = step.topics();
            let counts: BTreeSet<i32> = inputs
                .iter()
                .filter_map(|name| app.topic(name))
                .map(|topic| topic.partitions)
                .collect();
            if counts.len() > 1 {
                let problem = format!(
                    "step `{}` keeps state, but its inputs have {counts:?} partitions",
                    step.name
                );
                self.note(
                    &step.location,
                    problem,
                    "give all of them the same number".to_owned(),
                );
            }
        }
    }

    /// Records that go round and round and never leave fill the disks.
    fn cycles(&mut self, app: &App) {
        for step in &app.steps {
            let outputs = reachable(app, &step.output.values().cloned().collect::<Vec<_>>());
            let back = step.topics().iter().any(|topic| outputs.contains(topic));
            let leaves = app
                .steps
                .iter()
                .filter(|other| other.topics().iter().any(|topic| outputs.contains(topic)));
            let exit = leaves.flat_map(|other| other.output.values()).any(|topic| {
                !reachable(app, std::slice::from_ref(topic))
                    .iter()
                    .any(|next| step.topics().contains(next))
            });
            if back && !exit {
                let problem = format!("step `{}` is part of a cycle without an exit", step.name);
                self.note(
                    &step.location,
                    problem,
                    "let one of its steps also write a topic outside of it".to_owned(),
                );
            }
        }
    }
}

/// The topics themselves and all that steps make of them.
fn reachable(app: &App, from: &[String]) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = from.to_vec();
    while let Some(topic) = next.pop() {
        if reached.insert(topic.clone()) {
            let readers = app
                .steps
                .iter()
                .filter(|step| step.topics().contains(&topic));
            next.extend(readers.flat_map(|step| step.output.values().cloned()));
        }
    }
    reached
}
