//! `formline plugin inspect FILE`: what a plug-in says of itself, and what it may use.

use anyhow::{Result, anyhow};
use formline_processors::{Inspector, PluginInfo};
use serde_json::{Map, Value, json};

use super::say;
use crate::arguments::PluginInspect;

pub(super) fn run(arguments: &PluginInspect) -> Result<()> {
    let file = arguments.file.display();
    let inspector = Inspector::open(&arguments.data.cache())?;
    let loaded = inspector.load(&arguments.file);
    let loaded = loaded.map_err(|problem| anyhow!("{file} cannot be used: {problem}"))?;
    let plugin = loaded.inspect();
    if arguments.output.json {
        return say(&as_json(&plugin).to_string());
    }
    let mut answer = format!("{} {}\n{}\n\n", plugin.name, plugin.version, plugin.summary);
    for (what, said) in lines(&plugin) {
        answer += &format!("{what:<9} {said}\n");
    }
    say(&answer)
}

/// What there is to read, line by line; a line that goes on has nothing in front.
fn lines(plugin: &PluginInfo) -> Vec<(&'static str, String)> {
    let stores = plugin.stores.iter();
    let stores: Vec<_> = stores
        .map(|(name, version)| format!("{name} (schema version {version})"))
        .collect();
    let limits: Vec<_> = Inspector::limits()
        .into_iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let mut lines = vec![
        ("contract", plugin.contract.clone()),
        ("size", format!("{} bytes", plugin.size)),
        ("digest", format!("sha256:{}", plugin.digest)),
        ("inputs", all_of(&plugin.inputs)),
        ("outputs", all_of(&plugin.outputs)),
        ("stores", all_of(&stores)),
        ("counters", all_of(&plugin.counters)),
    ];
    for (what, list) in [("imports", &plugin.imports), ("limits", &limits)] {
        let heads = [what].into_iter().chain(std::iter::repeat(""));
        lines.extend(heads.zip(list.iter().cloned()));
    }
    lines.push(("config", format!("{:#}", plugin.config_schema)));
    lines
}

fn all_of(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

fn as_json(plugin: &PluginInfo) -> Value {
    let stores = plugin.stores.iter();
    let limits = Inspector::limits().into_iter();
    json!({
        "contract": plugin.contract,
        "name": plugin.name,
        "version": plugin.version,
        "summary": plugin.summary,
        "digest": plugin.digest,
        "size": plugin.size,
        "inputs": plugin.inputs,
        "outputs": plugin.outputs,
        "stores": stores
            .map(|(name, version)| json!({ "name": name, "schema_version": version }))
            .collect::<Vec<_>>(),
        "counters": plugin.counters,
        "imports": plugin.imports,
        "limits": limits
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect::<Map<_, _>>(),
        "config_schema": plugin.config_schema,
    })
}
