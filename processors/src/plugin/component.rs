//! A plug-in file that has been compiled and has described itself.

use std::sync::Arc;

use formline_core::app::{PluginFacts, schema::Schema};
use formline_plugin_contract::{MAX_NAMES, NAME_BYTES, is_name, is_version};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    bindings::{Descriptor, ProcessorPre},
    engine::Engine,
    guest,
    host_state::HostState,
};

/// A plug-in that is ready to be started.
pub(crate) struct Plugin {
    pub(super) engine: Engine,
    pub(super) code: ProcessorPre<HostState>,
    pub(crate) declared: Arc<Descriptor>,
    /// SHA-256 of the file, in hexadecimal.
    pub(crate) digest: String,
    /// `name@version sha256:<digest>`, as records and dead letters contain it.
    pub(crate) label: String,
    pub(crate) facts: PluginFacts,
}

/// The contract, and the prefix of its versions that this host supports: within it, the imports
/// only grow.
const CONTRACT: &str = "formline:plugin";
const SUPPORTED: &str = "0.2.";

/// Bytes of the largest accepted file. A component with CPython has 40 MB; plug-ins in Rust have
/// less than one.
pub(crate) const SIZE_LIMIT: usize = 32 << 20;

// === impl Plugin ===

impl Plugin {
    /// Compiles a file and reads its description. The error says why it cannot be used.
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
        let declared = guest::describe(engine, &code).map_err(|failure| failure.to_string())?;
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

    /// The contract that the plug-in was built against, such as `formline:plugin@0.2.0`.
    pub(crate) fn contract(&self) -> String {
        let component = self.code.instance_pre().component().component_type();
        let mut exports = component.exports(&self.engine.wasm);
        let version = exports.find_map(|(name, _)| name.strip_prefix("formline:plugin/plugin@"));
        let version = version.expect("`load` rejects a component without this export");
        format!("formline:plugin@{version}")
    }

    /// Names of everything that the plug-in imports.
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

/// Rejects another contract with a message that names the remedy; the linker's own error would only
/// name the missing import.
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
    match versions.find(|version| !version.starts_with(SUPPORTED)) {
        Some(other) => Err(format!(
            "it was built against {CONTRACT}@{other}, but this host supports {CONTRACT}@{SUPPORTED}x; \
             rebuild it with the SDK of this version"
        )),
        None => Ok(()),
    }
}

fn facts(declared: &Descriptor) -> Result<PluginFacts, String> {
    let config_schema: Value = serde_json::from_str(&declared.config_schema)
        .map_err(|error| format!("its configuration schema is not JSON: {error}"))?;
    Schema::compile(config_schema.clone())
        .map_err(|error| format!("its configuration schema is invalid: {error}"))?;
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
        if names.len() > MAX_NAMES {
            return Err(format!(
                "it declares {} names of one kind; at most {MAX_NAMES} are allowed",
                names.len()
            ));
        }
        for name in names {
            if !is_name(name) {
                let name = &name[..name.floor_char_boundary(NAME_BYTES)];
                return Err(format!(
                    "it declares the name `{name}`; use 1 to {NAME_BYTES} letters, digits, `-`, `_` and `.`"
                ));
            }
            if names.iter().filter(|other| *other == name).count() > 1 {
                return Err(format!("it declares the name `{name}` twice"));
            }
        }
    }
    if !is_version(&declared.version) {
        return Err("its version is invalid; use one such as 1.2.3".to_owned());
    }
    Ok(())
}
