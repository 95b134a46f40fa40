//! `formline plugin inspect FILE`: shows what a plug-in declares, imports and may use.

use anyhow::{Result, anyhow};
use formline_processors::{Inspector, PluginInfo};
use serde_json::{Map, Value, json};

use crate::{arguments::PluginInspectArgs, terminal};

pub(super) fn run(arguments: &PluginInspectArgs) -> Result<()> {
    let file = arguments.file.display();
    let inspector = Inspector::open(&arguments.data.cache())?;
    let loaded = inspector.load(&arguments.file);
    let loaded = loaded.map_err(|problem| anyhow!("{file} cannot be used: {problem}"))?;
    let plugin = loaded.inspect();
    if arguments.output.json {
        return terminal::print(&as_json(&plugin).to_string());
    }
    let mut text = format!("{} {}\n{}\n\n", plugin.name, plugin.version, plugin.summary);
    for (name, value) in properties(&plugin) {
        text += &format!("{name:<9} {value}\n");
    }
    terminal::print(&text)
}

/// Names and values, one per line. The second and later lines of a property have an empty name.
fn properties(plugin: &PluginInfo) -> Vec<(&'static str, String)> {
    let stores = plugin.stores.iter();
    let stores: Vec<_> = stores
        .map(|(name, version)| format!("{name} (schema version {version})"))
        .collect();
    let limits: Vec<_> = Inspector::limits()
        .into_iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let mut properties = vec![
        ("contract", plugin.contract.clone()),
        ("size", format!("{} bytes", plugin.size)),
        ("digest", format!("sha256:{}", plugin.digest)),
        ("inputs", comma_separated(&plugin.inputs)),
        ("outputs", comma_separated(&plugin.outputs)),
        ("stores", comma_separated(&stores)),
        ("counters", comma_separated(&plugin.counters)),
    ];
    for (name, list) in [("imports", &plugin.imports), ("limits", &limits)] {
        let names = [name].into_iter().chain(std::iter::repeat(""));
        properties.extend(names.zip(list.iter().cloned()));
    }
    properties.push(("config", format!("{:#}", plugin.config_schema)));
    properties
}

fn comma_separated(names: &[String]) -> String {
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
