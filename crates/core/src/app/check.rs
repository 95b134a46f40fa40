//! Holds the outlines of all apps against each other. What one section says of itself was checked when it was read.
//!
//! An empty name may be any: nothing is said to be missing that a section which could not be read may have.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Location,
    index::{AppIndex, Declared, Kind, Part},
};
use crate::{
    config::{Diagnostic, nearest},
    kafka::topic,
};

/// Notes mistakes at places of files.
#[derive(Default)]
struct Notes(Vec<Diagnostic>);

/// All mistakes between the sections.
pub(super) fn check(apps: &[AppIndex]) -> Vec<Diagnostic> {
    let mut notes = Notes::default();
    let apps = &notes.unique_apps(apps);
    notes.unique_names(apps);
    notes.unique_paths(apps);
    notes.unique_targets(apps);
    notes.same_topics(apps);
    let forms = form_topics(apps);
    notes.repetitions(apps, &forms);
    for app in apps {
        notes.topics(app, &forms);
        notes.partitions(app);
        notes.cycles(app);
    }
    notes.0
}

// === impl Notes ===

impl Notes {
    fn note(&mut self, at: &Location, problem: String, remedy: impl Into<String>) {
        let Location { file, line } = at;
        self.0.push(Diagnostic {
            file: file.to_path_buf(),
            line: *line,
            problem,
            remedy: remedy.into(),
        });
    }

    /// The apps without those whose name is taken: what else they have in common follows from it.
    fn unique_apps<'a>(&mut self, apps: &'a [AppIndex]) -> Vec<&'a AppIndex> {
        let mut seen: BTreeMap<&str, &AppIndex> = BTreeMap::new();
        let mut unique = Vec::with_capacity(apps.len());
        for app in apps {
            match seen.get(app.app.as_str()) {
                Some(first) if !app.app.is_empty() => {
                    let problem = format!(
                        "app `{}` is there twice, first in {}",
                        app.app, first.location
                    );
                    self.note(&app.location, problem, "give it another name under [app]");
                }
                _ => unique.push(app),
            }
            seen.entry(&app.app).or_insert(app);
        }
        unique
    }

    /// The topics of an app, all forms, and steps and sinks by their consumer groups.
    fn unique_names(&mut self, apps: &[&AppIndex]) {
        for app in apps {
            let topics = app.declared.iter().map(|one| {
                let name = &one.topic.name;
                (!name.is_empty()).then(|| (format!("topic `{name}`"), &one.location))
            });
            self.unique(topics, "remove one of the two");
        }
        let parts = apps.iter().flat_map(|app| {
            app.parts
                .iter()
                .map(|part| Some((title(app, part)?, &part.location)))
        });
        self.unique(parts, "give it another name");
    }

    fn unique_paths(&mut self, apps: &[&AppIndex]) {
        let paths = (apps.iter().flat_map(|app| &app.parts)).map(|part| match &part.kind {
            Kind::Form { path } if !path.is_empty() => {
                Some((format!("path {path}"), &part.location))
            }
            _ => None,
        });
        self.unique(paths, "choose another path");
    }

    /// Two sinks that write to one place would overwrite each other's position.
    fn unique_targets(&mut self, apps: &[&AppIndex]) {
        let targets = (apps.iter().flat_map(|app| &app.parts)).flat_map(|part| {
            let targets = match &part.kind {
                Kind::Sink { targets, .. } => targets.as_slice(),
                _ => &[],
            };
            let place = |target: &String| Some((target.clone(), &part.location));
            targets.iter().map(place)
        });
        self.unique(targets, "choose another spreadsheet or tab");
    }

    /// Apps may share a topic, but Kafka has only one of each name.
    fn same_topics(&mut self, apps: &[&AppIndex]) {
        let mut seen: BTreeMap<&str, &Declared> = BTreeMap::new();
        for declared in apps.iter().flat_map(|app| &app.declared) {
            let (topic, location) = (&declared.topic, &declared.location);
            match seen.get(topic.name.as_str()) {
                Some(first)
                    if first.topic != *topic
                        && first.location.file != location.file
                        && !topic.name.is_empty() =>
                {
                    let problem = format!(
                        "topic `{}` is declared otherwise in {}",
                        topic.name, first.location
                    );
                    self.note(location, problem, "declare it alike in both");
                }
                _ => {}
            }
            seen.entry(&topic.name).or_insert(declared);
        }
    }

    fn unique<'a>(
        &mut self,
        things: impl Iterator<Item = Option<(String, &'a Location)>>,
        remedy: &str,
    ) {
        let mut seen: BTreeMap<String, &Location> = BTreeMap::new();
        for (thing, location) in things.flatten() {
            if let Some(first) = seen.get(&thing) {
                let problem = format!("{thing} is there twice, first in {first}");
                self.note(location, problem, remedy);
            }
            seen.entry(thing).or_insert(location);
        }
    }

    /// A submission with an Idempotency-Key can stand twice in a form's topic. Steps drop the repetition, and what
    /// they write is unique; most sinks would carry both out.
    fn repetitions(&mut self, apps: &[&AppIndex], forms: &BTreeSet<&str>) {
        let carries_both_out = |part: &&Part| {
            let kind = &part.kind;
            matches!(kind, Kind::Sink { drops_repetitions, .. } if !drops_repetitions)
        };
        let sinks = (apps.iter().flat_map(|app| &app.parts)).filter(carries_both_out);
        for sink in sinks {
            for topic in sink
                .reads
                .iter()
                .filter(|topic| forms.contains(topic.as_str()))
            {
                let problem = format!(
                    "the sink reads topic `{topic}`, which a form writes: there a submission can stand twice"
                );
                let remedy = "let a step stand between, for instance one with the plug-in rows";
                self.note(&sink.location, problem, remedy);
            }
        }
    }

    /// Every topic that is read must be there, and every one that is declared must join something.
    fn topics(&mut self, app: &AppIndex, forms: &BTreeSet<&str>) {
        let mut named = BTreeSet::new();
        for part in &app.parts {
            // What a step writes is there without a declaration.
            let is_form = matches!(part.kind, Kind::Form { .. });
            let written = part.writes.iter().filter(|_| is_form);
            for name in part.reads.iter().chain(written) {
                // One declaration mends all places that lack it.
                if named.insert(name) {
                    self.declared(app, &part.location, name);
                }
            }
        }
        let written: BTreeSet<&str> = names(app.parts.iter().flat_map(|part| &part.writes));
        for sink in app.parts.iter().filter(|part| part.is_sink()) {
            for name in &sink.reads {
                let is_written = has(&written, name) || forms.contains(name.as_str());
                if app.topics.contains_key(name) && !is_written {
                    let problem = format!("nothing of the app writes topic `{name}`");
                    self.note(&sink.location, problem, "let a form or step write it");
                }
            }
        }
        let read = names(app.parts.iter().flat_map(|part| &part.reads));
        let used: BTreeSet<&str> = written.union(&read).copied().collect();
        for declared in &app.declared {
            let name = &declared.topic.name;
            if !name.is_empty() && !has(&used, name) {
                let problem = format!("topic `{name}` joins nothing");
                let remedy = "let a form write it or a step or sink read it, or remove it";
                self.note(&declared.location, problem, remedy);
            }
        }
    }

    fn declared(&mut self, app: &AppIndex, at: &Location, name: &str) {
        let known = names(app.topics.keys());
        if has(&known, name) || !topic::is_legal(name) {
            return;
        }
        let remedy = match nearest(name, known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("declare it with [[topic]] and name = \"{name}\""),
        };
        self.note(at, format!("there is no topic `{name}`"), remedy);
    }

    /// A step with state sees the records of a key only if all inputs put that key on the same partition number.
    fn partitions(&mut self, app: &AppIndex) {
        for step in app.steps() {
            let inputs = step.reads.iter();
            let counts: BTreeSet<i32> = inputs
                .filter_map(|name| app.topics.get(name).copied().flatten())
                .collect();
            if step.kind == (Kind::Step { keeps_state: true }) && counts.len() > 1 {
                let problem = format!(
                    "step `{}` keeps state, but its inputs have {counts:?} partitions",
                    step.name
                );
                self.note(
                    &step.location,
                    problem,
                    "give all of them the same number of partitions",
                );
            }
        }
    }

    /// Records that go round and round and never leave fill the disks.
    fn cycles(&mut self, app: &AppIndex) {
        let is_unknown =
            |step: &Part| (step.reads.iter().chain(&step.writes)).any(String::is_empty);
        if app.steps().any(is_unknown) {
            return;
        }
        for step in app.steps() {
            let outputs = reachable(app, &step.writes);
            let reaches = |topics: &BTreeSet<String>, other: &Part| {
                other.reads.iter().any(|topic| topics.contains(topic))
            };
            let mut leaving = app
                .steps()
                .filter(|other| reaches(&outputs, other))
                .flat_map(|other| &other.writes);
            let has_exit =
                leaving.any(|topic| !reaches(&reachable(app, std::slice::from_ref(topic)), step));
            if reaches(&outputs, step) && !has_exit {
                let problem = format!("step `{}` is part of a cycle without an exit", step.name);
                let remedy = "let one of its steps also write a topic outside of it";
                self.note(&step.location, problem, remedy);
            }
        }
    }
}

/// What no other section may be called, if the name is known.
fn title(app: &AppIndex, part: &Part) -> Option<String> {
    let (app, name) = (&app.app, &part.name);
    match part.kind {
        _ if name.is_empty() => None,
        Kind::Form { .. } => Some(format!("form `{name}`")),
        _ if app.is_empty() => None,
        // They share the names of consumer groups and dead-letter topics.
        Kind::Step { .. } | Kind::Sink { .. } => {
            Some(format!("step or sink `{name}` of app `{app}`"))
        }
    }
}

/// The topics that forms write to, as far as they are known.
fn form_topics<'a>(apps: &[&'a AppIndex]) -> BTreeSet<&'a str> {
    let parts = apps.iter().flat_map(|app| &app.parts);
    let forms = parts.filter(|part| matches!(part.kind, Kind::Form { .. }));
    let mut topics = names(forms.flat_map(|form| &form.writes));
    topics.remove("");
    topics
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
    names.map(String::as_str).collect()
}

/// Whether a name is among those that are known, or may be one of those that are not.
fn has(names: &BTreeSet<&str>, name: &str) -> bool {
    names.contains(name) || names.contains("")
}

/// The topics themselves and all that steps make of them.
fn reachable(app: &AppIndex, from: &[String]) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = from.to_vec();
    while let Some(topic) = next.pop() {
        if reached.insert(topic.clone()) {
            let readers = app.steps().filter(|step| step.reads.contains(&topic));
            next.extend(readers.flat_map(|step| step.writes.iter().cloned()));
        }
    }
    reached
}
