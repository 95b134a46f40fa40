//! Compares the indexes of all apps with each other. What concerns one section alone is checked
//! when the section is read.
//!
//! An empty name may be any name, so nothing is reported as missing that a section which could not
//! be read may contain.

use std::collections::{BTreeMap, BTreeSet};

use super::index::{AppIndex, Node, NodeKind, TopicDeclaration};
use crate::{
    config::{Diagnostic, Location, nearest},
    kafka::topic,
};

/// The diagnostics so far.
#[derive(Default)]
struct Report(Vec<Diagnostic>);

/// Returns all contradictions between sections.
pub(super) fn check(apps: &[AppIndex]) -> Vec<Diagnostic> {
    let mut report = Report::default();
    let apps = &report.unique_apps(apps);
    report.unique_names(apps);
    report.unique_paths(apps);
    report.unique_targets(apps);
    report.same_topics(apps);
    let forms = form_topics(apps);
    report.duplicates(apps, &forms);
    for app in apps {
        report.topics(app, &forms);
        report.partitions(app);
        report.cycles(app);
    }
    report.0
}

// === impl Report ===

impl Report {
    fn add(&mut self, at: &Location, problem: String, remedy: impl Into<String>) {
        let Location { file, line } = at;
        self.0.push(Diagnostic {
            file: file.to_path_buf(),
            line: *line,
            problem,
            remedy: remedy.into(),
        });
    }

    /// The apps without those whose name is already used: any further conflict follows from it.
    fn unique_apps<'a>(&mut self, apps: &'a [AppIndex]) -> Vec<&'a AppIndex> {
        let mut seen: BTreeMap<&str, &AppIndex> = BTreeMap::new();
        let mut unique = Vec::with_capacity(apps.len());
        for app in apps {
            match seen.get(app.app.as_str()) {
                Some(first) if !app.app.is_empty() => {
                    let problem = format!(
                        "app `{}` is declared twice, first in {}",
                        app.app, first.location
                    );
                    self.add(&app.location, problem, "give it another name under [app]");
                }
                _ => unique.push(app),
            }
            seen.entry(&app.app).or_insert(app);
        }
        unique
    }

    /// Topics are unique in an app, forms among all apps, steps and sinks by their consumer groups.
    fn unique_names(&mut self, apps: &[&AppIndex]) {
        for app in apps {
            let topics = app.declared.iter().map(|one| {
                let name = &one.topic.name;
                (!name.is_empty()).then(|| (format!("topic `{name}`"), &one.location))
            });
            self.unique(topics, "remove one of the two");
        }
        let nodes = apps.iter().flat_map(|app| {
            app.nodes
                .iter()
                .map(|node| Some((title(app, node)?, &node.location)))
        });
        self.unique(nodes, "give it another name");
    }

    fn unique_paths(&mut self, apps: &[&AppIndex]) {
        let paths = (apps.iter().flat_map(|app| &app.nodes)).map(|node| match &node.kind {
            NodeKind::Form { path } if !path.is_empty() => {
                Some((format!("path {path}"), &node.location))
            }
            _ => None,
        });
        self.unique(paths, "choose another path");
    }

    /// Two sinks that write to the same tab would overwrite each other's checkpoint.
    fn unique_targets(&mut self, apps: &[&AppIndex]) {
        let targets = (apps.iter().flat_map(|app| &app.nodes)).flat_map(|node| {
            let targets = match &node.kind {
                NodeKind::Sink { targets, .. } => targets.as_slice(),
                _ => &[],
            };
            let located = |target: &String| Some((target.clone(), &node.location));
            targets.iter().map(located)
        });
        self.unique(targets, "choose another spreadsheet or tab");
    }

    /// Apps may share a topic, but Kafka has only one of each name.
    fn same_topics(&mut self, apps: &[&AppIndex]) {
        let mut seen: BTreeMap<&str, &TopicDeclaration> = BTreeMap::new();
        for declared in apps.iter().flat_map(|app| &app.declared) {
            let (topic, location) = (&declared.topic, &declared.location);
            match seen.get(topic.name.as_str()) {
                Some(first)
                    if first.topic != *topic
                        && first.location.file != location.file
                        && !topic.name.is_empty() =>
                {
                    let problem = format!(
                        "topic `{}` is declared differently in {}",
                        topic.name, first.location
                    );
                    self.add(location, problem, "make both declarations equal");
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
                let problem = format!("{thing} is declared twice, first in {first}");
                self.add(location, problem, remedy);
            }
            seen.entry(thing).or_insert(location);
        }
    }

    /// The topic of a form may contain a submission with an Idempotency-Key twice. Steps drop the
    /// repetition, so their outputs are unique; most sinks would process both.
    fn duplicates(&mut self, apps: &[&AppIndex], forms: &BTreeSet<&str>) {
        let repeats = |node: &&Node| {
            let kind = &node.kind;
            matches!(kind, NodeKind::Sink { deduplicates, .. } if !deduplicates)
        };
        let sinks = (apps.iter().flat_map(|app| &app.nodes)).filter(repeats);
        for sink in sinks {
            for topic in sink
                .reads
                .iter()
                .filter(|topic| forms.contains(topic.as_str()))
            {
                let problem = format!(
                    "the sink reads topic `{topic}`, which a form writes and which may contain a submission twice"
                );
                let remedy = "put a step in between, for instance one with the plug-in rows";
                self.add(&sink.location, problem, remedy);
            }
        }
    }

    /// Every topic that is read must exist, and every declared one must be used.
    fn topics(&mut self, app: &AppIndex, forms: &BTreeSet<&str>) {
        let mut named = BTreeSet::new();
        for node in &app.nodes {
            // The outputs of steps need no declaration.
            let is_form = matches!(node.kind, NodeKind::Form { .. });
            let written = node.writes.iter().filter(|_| is_form);
            for name in node.reads.iter().chain(written) {
                // One declaration fixes all references.
                if named.insert(name) {
                    self.declared(app, &node.location, name);
                }
            }
        }
        let written: BTreeSet<&str> = names(app.nodes.iter().flat_map(|node| &node.writes));
        for sink in app.nodes.iter().filter(|node| node.is_sink()) {
            for name in &sink.reads {
                let is_written = has(&written, name) || forms.contains(name.as_str());
                if app.topics.contains_key(name) && !is_written {
                    let problem = format!("no form or step writes topic `{name}`");
                    self.add(&sink.location, problem, "let a form or step write it");
                }
            }
        }
        let read = names(app.nodes.iter().flat_map(|node| &node.reads));
        let used: BTreeSet<&str> = written.union(&read).copied().collect();
        for declared in &app.declared {
            let name = &declared.topic.name;
            if !name.is_empty() && !has(&used, name) {
                let problem = format!("topic `{name}` is not used");
                let remedy = "let a form write it or a step or sink read it, or remove it";
                self.add(&declared.location, problem, remedy);
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
        self.add(at, format!("there is no topic `{name}`"), remedy);
    }

    /// A step with state receives all records of a key in one task only if all inputs have the key
    /// in the same partition.
    fn partitions(&mut self, app: &AppIndex) {
        for step in app.steps() {
            let inputs = step.reads.iter();
            let counts: BTreeSet<i32> = inputs
                .filter_map(|name| app.topics.get(name).copied().flatten())
                .collect();
            if step.kind == (NodeKind::Step { has_state: true }) && counts.len() > 1 {
                let problem = format!(
                    "step `{}` keeps state, but its inputs have {counts:?} partitions",
                    step.name
                );
                self.add(
                    &step.location,
                    problem,
                    "give all of them the same number of partitions",
                );
            }
        }
    }

    /// Records that circulate without an exit fill the disks.
    fn cycles(&mut self, app: &AppIndex) {
        let is_unknown =
            |step: &Node| (step.reads.iter().chain(&step.writes)).any(String::is_empty);
        if app.steps().any(is_unknown) {
            return;
        }
        for step in app.steps() {
            let outputs = reachable(app, &step.writes);
            let reaches = |topics: &BTreeSet<String>, other: &Node| {
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
                self.add(&step.location, problem, remedy);
            }
        }
    }
}

/// The name that no other section may have, if it is known.
fn title(app: &AppIndex, node: &Node) -> Option<String> {
    let (app, name) = (&app.app, &node.name);
    match node.kind {
        _ if name.is_empty() => None,
        NodeKind::Form { .. } => Some(format!("form `{name}`")),
        _ if app.is_empty() => None,
        // They share the names of consumer groups and dead-letter topics.
        NodeKind::Step { .. } | NodeKind::Sink { .. } => {
            Some(format!("step or sink `{name}` of app `{app}`"))
        }
    }
}

/// The topics that forms write to, as far as these are known.
fn form_topics<'a>(apps: &[&'a AppIndex]) -> BTreeSet<&'a str> {
    let nodes = apps.iter().flat_map(|app| &app.nodes);
    let forms = nodes.filter(|node| matches!(node.kind, NodeKind::Form { .. }));
    let mut topics = names(forms.flat_map(|form| &form.writes));
    topics.remove("");
    topics
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
    names.map(String::as_str).collect()
}

/// Returns whether a name is one of the known names, or may be one that could not be read.
fn has(names: &BTreeSet<&str>, name: &str) -> bool {
    names.contains(name) || names.contains("")
}

/// The topics themselves and all that steps derive from them.
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
