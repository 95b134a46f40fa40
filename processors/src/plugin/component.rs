//! A plug-in file that has been compiled and has described itself.

use std::{sync::Arc, time::Duration};

use formline_core::{app::PluginFacts, schema::Schema};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    bindings::{Descriptor, ProcessorPre},
    engine::Engine,
    host::Host,
    instance,
};

/// A plug-in that is ready to be started.
pub(crate) struct Plugin {
    pub(super) engine: Engine,
    pub(super) code: ProcessorPre<Host>,
    pub(crate) declared: Arc<Descriptor>,
    /// SHA-256 of the file, in hexadecimal.
    pub(crate) digest: String,
    /// `name@version sha256:<digest>`, as records and dead letters carry it.
    pub(crate) label: String,
    pub(crate) facts: PluginFacts,
}

/// The contract, and the beginning of its versions that this host has: within it, imports only grow.
const CONTRACT: &str = "formline:plugin";
const TRACK: &str = "0.2.";

/// A larger file is refused. CPython in a component has 40 MB; what is meant for here has below one.
pub(crate) const SIZE_LIMIT: usize = 32 << 20;

/// Bounds of what a plug-in may say of itself: names become headers and labels of metrics.
const NAMES: usize = 64;
const NAME_LENGTH: usize = 64;

/// Time for `describe`, which only puts constants together.
pub(super) const DESCRIBE_TIME: Duration = Duration::from_secs(5);

// === impl Plugin ===

impl Plugin {
    /// Compiles a file and asks it what it is. The error says why it cannot be used.
    pub(crate) fn load(engine: &Engine, wasm: &[u8]) -> Result<Self, String> {
        let digest: String = Sha256::digest(wasm)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let component = engine
            .compile(wasm, &digest)
            .map_err(|error| format!("{error:#}"))?;
        check_contract(engine, &component)?;
        let code = engine.linker.instantiate_pre(&component);
        let code = code
            .and_then(ProcessorPre::new)
            .map_err(|error| format!("{error:#}"))?;
        let declared = instance::describe(engine, &code).map_err(|failure| failure.to_string())?;
        check_names(&declared)?;
        let facts = facts(&declared)?;
        let label = format!("{}@{} sha256:{digest}", declared.name, declared.version);
        Ok(Self {
            engine: engine.clone(),
            code,
            declared: Arc::new(declared),
            digest,
            label,
            facts,
        })
    }

    /// The contract that it was built against, such as `formline:plugin@0.2.0`.
    pub(crate) fn contract(&self) -> String {
        let component = self.code.instance_pre().component().component_type();
        let mut exports = component.exports(&self.engine.wasm);
        let version = exports.find_map(|(name, _)| name.strip_prefix("formline:plugin/plugin@"));
        let version = version.expect("what does not export it is refused when it is loaded");
        format!("formline:plugin@{version}")
    }

    /// Names of everything that it imports.
    pub(crate) fn imports(&self) -> Vec<String> {
        let component = self.code.instance_pre().component().component_type();
        let names = component.imports(&self.engine.wasm);
        names.map(|(name, _)| name.to_owned()).collect()
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Refuses another contract in words that say what to do. What a linker says of it is for those who know linkers.
fn check_contract(
    engine: &Engine,
    component: &wasmtime::component::Component,
) -> Result<(), String> {
    let component = component.component_type();
    let exports = component.exports(&engine.wasm).map(|(name, _)| name);
    let names = component.imports(&engine.wasm).map(|(name, _)| name);
    let mut versions = names.chain(exports).filter_map(|name| {
        let (interface, version) = name.split_once('@')?;
        interface.starts_with(CONTRACT).then_some(version)
    });
    match versions.find(|version| !version.starts_with(TRACK)) {
        Some(other) => Err(format!(
            "it was built against {CONTRACT}@{other}, and this host has {CONTRACT}@{TRACK}x; build it anew with the \
             SDK of this version"
        )),
        None => Ok(()),
    }
}

fn facts(declared: &Descriptor) -> Result<PluginFacts, String> {
    let config_schema: Value = serde_json::from_str(&declared.config_schema)
        .map_err(|error| format!("the schema of its configuration is not json: {error}"))?;
    Schema::compile(config_schema.clone())
        .map_err(|error| format!("the schema of its configuration cannot be used: {error}"))?;
    Ok(PluginFacts {
        inputs: declared.inputs.clone(),
        outputs: declared.outputs.clone(),
        stores: declared
            .stores
            .iter()
            .map(|store| store.name.clone())
            .collect(),
        config_schema,
    })
}

fn check_names(declared: &Descriptor) -> Result<(), String> {
    let stores: Vec<String> = declared
        .stores
        .iter()
        .map(|store| store.name.clone())
        .collect();
    let groups = [
        &declared.inputs,
        &declared.outputs,
        &stores,
        &declared.counters,
        &vec![declared.name.clone()],
    ];
    for names in groups {
        if names.len() > NAMES {
            return Err(format!(
                "it declares {} names of a kind; {NAMES} are allowed",
                names.len()
            ));
        }
        for name in names {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.len() > NAME_LENGTH || !name.chars().all(legal) {
                let name = &name[..name.floor_char_boundary(NAME_LENGTH)];
                return Err(format!(
                    "it declares `{name}`; a name has letters, digits, `-`, `_` and `.`"
                ));
            }
            if names.iter().filter(|other| *other == name).count() > 1 {
                return Err(format!("it declares `{name}` twice"));
            }
        }
    }
    let version = &declared.version;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
    if version.is_empty() || version.len() > NAME_LENGTH || !version.chars().all(legal) {
        return Err("its version is not one, such as 1.2.3".to_owned());
    }
    Ok(())
}
