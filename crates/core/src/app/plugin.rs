//! Holds a step against its plug-in: the ports that it binds and the configuration that it gives.

use serde_json::Value;

use super::Step;
use crate::config::SectionReader;
use crate::{
    app::schema::{Schema, Violation},
    config::nearest,
};

/// What a plug-in says of itself, as far as an app must fit to it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PluginFacts {
    /// Input ports.
    pub inputs: Vec<String>,
    /// Output ports.
    pub outputs: Vec<String>,
    /// Names of its stores.
    pub stores: Vec<String>,
    /// JSON Schema of its configuration.
    pub config_schema: Value,
}

/// The plug-ins that are there.
pub trait Plugins {
    /// What is known of the plug-in that a step names; none if there is no such.
    fn find(&self, reference: &str) -> Option<PluginFacts>;
    /// All names, for messages.
    fn names(&self) -> Vec<String>;
    /// Whether it is known which ones there are. If not, steps are not held against them.
    fn are_known(&self) -> bool {
        true
    }
}

/// Stands for a plug-in folder that cannot be read, so that everything else can still be checked.
#[derive(Clone, Copy, Debug)]
pub struct UnknownPlugins;

/// The configuration of a step against its plug-in's schema.
struct Config<'s> {
    schema: &'s Value,
    written: &'s Value,
}

// === impl UnknownPlugins ===

impl Plugins for UnknownPlugins {
    fn find(&self, _: &str) -> Option<PluginFacts> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn are_known(&self) -> bool {
        false
    }
}

/// Notes what does not fit. None if nothing is known of the plug-in.
pub(super) fn check(
    step: &Step,
    section: &SectionReader<'_>,
    plugins: &dyn Plugins,
) -> Option<PluginFacts> {
    if !plugins.are_known() || section.is_unread("plugin") {
        return None;
    }
    let Some(facts) = plugins.find(&step.plugin) else {
        let problem = format!("there is no plug-in `{}`", step.plugin);
        section.mistake("plugin", &problem, &other_plugin(&step.plugin, plugins));
        return None;
    };
    let inputs: Vec<&str> = step.input.keys().map(String::as_str).collect();
    let outputs: Vec<&str> = step.output.keys().map(String::as_str).collect();
    check_ports(section, "input", "[\"a-topic\"]", &facts.inputs, &inputs);
    check_ports(section, "output", "\"a-topic\"", &facts.outputs, &outputs);
    check_config(section, &step.config, &facts.config_schema);
    Some(facts)
}

/// The remedy for a plug-in that is not there. People also write a version, or the file.
fn other_plugin(reference: &str, plugins: &dyn Plugins) -> String {
    let names = plugins.names();
    let file = reference.rsplit('/').next().unwrap_or(reference);
    let name = file.split('@').next().unwrap_or(file);
    match nearest(
        name.trim_end_matches(".wasm"),
        names.iter().map(String::as_str),
    ) {
        Some(meant) if file != name && meant == name => {
            format!("write `{name}` for the newest version that is there")
        }
        Some(meant) => format!("did you mean `{meant}`?"),
        None if names.is_empty() => "put its .wasm into the plug-in folder, which has none".into(),
        None => format!(
            "put its .wasm into the plug-in folder, or name one of {}",
            names.join(", ")
        ),
    }
}

fn check_ports(
    section: &SectionReader<'_>,
    key: &str,
    example: &str,
    declared: &[String],
    bound: &[&str],
) {
    let free = |port: &&String| !bound.contains(&port.as_str());
    // Then a port without a name stands for all that could not be read.
    let is_open = section.is_unread(key) && bound.contains(&"");
    let mut meant = Vec::new();
    for port in bound {
        if declared.iter().any(|name| name == port) || is_open {
            continue;
        }
        let near = nearest(port, declared.iter().filter(free).map(String::as_str));
        meant.extend(near);
        let remedy = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if declared.is_empty() => format!("remove it; there is no {key} port"),
            None => format!("its {key} ports are {}", declared.join(", ")),
        };
        let problem = format!("the plug-in has no {key} port `{port}`");
        section.mistake(key, &problem, &remedy);
    }
    for port in declared.iter().filter(free) {
        if !is_open && !meant.contains(&port.as_str()) {
            let problem = format!("the plug-in's {key} port `{port}` is not bound");
            let remedy = format!("bind it, for instance {key} = {{ {port} = {example} }}");
            section.mistake(key, &problem, &remedy);
        }
    }
}

fn check_config(section: &SectionReader<'_>, written: &Value, schema: &Value) {
    if section.is_unread("config") {
        return;
    }
    let compiled = match Schema::compile(schema.clone()) {
        Ok(compiled) => compiled,
        Err(error) => {
            section.mistake(
                "plugin",
                &format!("the plug-in's configuration schema cannot be used: {error}"),
                "ask the plug-in's author for a version with a valid schema",
            );
            return;
        }
    };
    let config = Config { schema, written };
    for violation in compiled.violations(written) {
        for (problem, remedy) in config.explain(&violation) {
            section.mistake("config", &problem, &remedy);
        }
    }
}

// === impl Config ===

impl Config<'_> {
    /// Problem and remedy of each mistake that a violation stands for. The schema's own words are the best remedy.
    fn explain(&self, violation: &Violation) -> Vec<(String, String)> {
        let place = violation.pointer.trim_start_matches("#/");
        let key = place.split('/').next().unwrap_or(place);
        match (violation.pointer.as_str(), violation.keyword.as_str()) {
            (_, "additionalProperties") if key == place => vec![self.strange(key)],
            (_, "required") if self.misspelled().any(|(_, meant)| meant == Some(place)) => vec![],
            (_, "required") => {
                let problem = format!("the configuration lacks `{place}`");
                vec![(problem, self.describe(key))]
            }
            ("#", _) => vec![(
                format!("config: {}", violation.detail),
                format!("it takes {}", self.keys().join(", ")),
            )],
            _ => vec![(
                format!("config `{place}`: {}", violation.detail),
                self.describe(key),
            )],
        }
    }

    fn strange(&self, key: &str) -> (String, String) {
        let known = self.keys();
        let remedy = match nearest(key, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("remove it; known are {}", known.join(", ")),
        };
        (format!("unknown key `{key}` in the configuration"), remedy)
    }

    /// Keys that the schema does not have, each with the one that may be meant.
    fn misspelled(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let known = self.keys();
        let written = self.written.as_object().into_iter().flatten();
        let strange = written.filter(|(name, _)| self.schema["properties"].get(name).is_none());
        strange.map(move |(name, _)| (name.as_str(), nearest(name, known.iter().copied())))
    }

    fn keys(&self) -> Vec<&str> {
        let properties = self.schema["properties"].as_object();
        properties
            .into_iter()
            .flat_map(|keys| keys.keys().map(String::as_str))
            .collect()
    }

    fn describe(&self, key: &str) -> String {
        match self.schema["properties"][key]["description"].as_str() {
            Some(text) => format!(
                "`{key}` is: {}",
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            ),
            None => "write what the plug-in's configuration schema asks for".to_owned(),
        }
    }
}
