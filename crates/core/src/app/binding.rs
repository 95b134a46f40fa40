//! Compares a step with its plug-in: the ports that it binds and the configuration.

use serde_json::Value;

use super::{
    plugin::{PluginFacts, Plugins},
    schema::{Schema, Violation},
    step::Step,
};
use crate::config::{ConfigKey, SectionReader, keys::app_toml::step as keys, nearest};

/// The configuration of a step and the schema of its plug-in.
struct Config<'s> {
    schema: &'s Value,
    written: &'s Value,
}

/// Reports the differences. `None` if nothing is known about the plug-in.
pub(super) fn check(
    step: &Step,
    section: &SectionReader<'_>,
    plugins: &dyn Plugins,
) -> Option<PluginFacts> {
    if !plugins.are_known() || section.is_unread(&keys::PLUGIN) {
        return None;
    }
    let Some(facts) = plugins.find(&step.plugin) else {
        let problem = format_args!("there is no plug-in `{}`", step.plugin);
        section.report(&keys::PLUGIN, problem, other_plugin(&step.plugin, plugins));
        return None;
    };
    let inputs: Vec<&str> = step.input.keys().map(String::as_str).collect();
    let outputs: Vec<&str> = step.output.keys().map(String::as_str).collect();
    check_ports(
        section,
        &keys::INPUT,
        "[\"a-topic\"]",
        &facts.inputs,
        &inputs,
    );
    check_ports(
        section,
        &keys::OUTPUT,
        "\"a-topic\"",
        &facts.outputs,
        &outputs,
    );
    check_config(section, &step.config, &facts.config_schema);
    Some(facts)
}

/// The remedy for an unavailable plug-in. Users also write a version, or the file.
fn other_plugin(reference: &str, plugins: &dyn Plugins) -> String {
    let names = plugins.names();
    let file = reference.rsplit('/').next().unwrap_or(reference);
    let name = file.split('@').next().unwrap_or(file);
    match nearest(
        name.trim_end_matches(".wasm"),
        names.iter().map(String::as_str),
    ) {
        Some(meant) if file != name && meant == name => {
            format!("write `{name}` for the newest available version")
        }
        Some(meant) => format!("did you mean `{meant}`?"),
        None if names.is_empty() => {
            "put its .wasm file into the plug-in folder, which has none".into()
        }
        None => format!(
            "put its .wasm file into the plug-in folder, or name one of {}",
            names.join(", ")
        ),
    }
}

fn check_ports(
    section: &SectionReader<'_>,
    key: &ConfigKey,
    example: &str,
    declared: &[String],
    bound: &[&str],
) {
    let name = key.name;
    let free = |port: &&String| !bound.contains(&port.as_str());
    // Then a port without a name represents all those that could not be read.
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
            None if declared.is_empty() => format!("remove it; it has no {name} port"),
            None => format!("its {name} ports are {}", declared.join(", ")),
        };
        let problem = format_args!("the plug-in has no {name} port `{port}`");
        section.report(key, problem, remedy);
    }
    for port in declared.iter().filter(free) {
        if !is_open && !meant.contains(&port.as_str()) {
            let problem = format_args!("the plug-in's {name} port `{port}` is not bound");
            let remedy = format_args!("bind it, for instance {name} = {{ {port} = {example} }}");
            section.report(key, problem, remedy);
        }
    }
}

fn check_config(section: &SectionReader<'_>, written: &Value, schema: &Value) {
    if section.is_unread(&keys::CONFIG) {
        return;
    }
    let compiled = match Schema::compile(schema.clone()) {
        Ok(compiled) => compiled,
        Err(error) => {
            section.report(
                &keys::PLUGIN,
                format_args!("the plug-in's configuration schema cannot be used: {error}"),
                "ask the plug-in's author for a version with a valid schema",
            );
            return;
        }
    };
    let config = Config { schema, written };
    for violation in compiled.violations(written) {
        for (problem, remedy) in config.explain(&violation) {
            section.report(&keys::CONFIG, problem, remedy);
        }
    }
}

// === impl Config ===

impl Config<'_> {
    /// Problem and remedy of each error in a violation. The description in the schema is the best
    /// remedy.
    fn explain(&self, violation: &Violation) -> Vec<(String, String)> {
        let place = violation.pointer.trim_start_matches("#/");
        let key = place.split('/').next().unwrap_or(place);
        match (violation.pointer.as_str(), violation.keyword.as_str()) {
            (_, "additionalProperties") if key == place => vec![self.unknown(key)],
            (_, "required") if self.misspelled().any(|(_, meant)| meant == Some(place)) => vec![],
            (_, "required") => {
                let problem = format!("`{place}` is missing in the configuration");
                vec![(problem, self.describe(key))]
            }
            ("#", _) => vec![(
                format!("config: {}", violation.detail),
                format!("it has the keys {}", self.keys().join(", ")),
            )],
            _ => vec![(
                format!("config `{place}`: {}", violation.detail),
                self.describe(key),
            )],
        }
    }

    fn unknown(&self, key: &str) -> (String, String) {
        let known = self.keys();
        let remedy = match nearest(key, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("remove it; known are {}", known.join(", ")),
        };
        (format!("unknown key `{key}` in the configuration"), remedy)
    }

    /// Keys that the schema does not have, each with the key that it may be a misspelling of.
    fn misspelled(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let known = self.keys();
        let written = self.written.as_object().into_iter().flatten();
        let unknown = written.filter(|(name, _)| self.schema["properties"].get(name).is_none());
        unknown.map(move |(name, _)| (name.as_str(), nearest(name, known.iter().copied())))
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
