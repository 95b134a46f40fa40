//! Reads what a plug-in file declares, without a running process.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use formline_core::app::{self, Location, Step};
use formline_plugin_contract::LIMITS;
use serde_json::Value;

use crate::{
    error::Error,
    hot_swap,
    plugin::{Engine, Plugin, SIZE_LIMIT, STACK},
};

/// Loads plug-in files.
#[derive(Debug)]
pub struct Inspector {
    engine: Engine,
}

/// A plug-in that was loaded from a file.
#[derive(Debug)]
pub struct Candidate {
    pub(super) plugin: Plugin,
    size: u64,
}

/// What a plug-in file declares and imports.
#[derive(Clone, Debug)]
pub struct PluginInfo {
    /// The contract that the plug-in was built against, such as `formline:plugin@0.2.0`.
    pub contract: String,
    /// The name of the plug-in.
    pub name: String,
    /// The version of the plug-in.
    pub version: String,
    /// The summary that the plug-in declares.
    pub summary: String,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The size of the file, in bytes.
    pub size: u64,
    /// Names of the input ports.
    pub inputs: Vec<String>,
    /// Names of the output ports.
    pub outputs: Vec<String>,
    /// Names of the stores, each with its schema version.
    pub stores: Vec<(String, u32)>,
    /// Names of the counters.
    pub counters: Vec<String>,
    /// Names of all imports of the component.
    pub imports: Vec<String>,
    /// The JSON Schema of the configuration.
    pub config_schema: Value,
}

// === impl Inspector ===

impl Inspector {
    /// Creates the engine. `cache` is the folder for compiled code; it is created if it does not
    /// exist, and must be private to the process's user.
    ///
    /// # Errors
    /// If the cache cannot be used, or the engine does not start.
    pub fn open(cache: &Path) -> Result<Self, Error> {
        let engine = Engine::new(cache)?;
        Ok(Self { engine })
    }

    /// Compiles a file and reads its description.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn load(&self, file: &Path) -> Result<Candidate, String> {
        let plugin = hot_swap::read(&self.engine, file)?;
        let metadata = std::fs::metadata(file).map_err(|error| error.to_string())?;
        Ok(Candidate {
            plugin,
            size: metadata.len(),
        })
    }

    /// The limits of a plug-in; the name of each ends with its unit. The first three are the
    /// defaults of a step.
    pub fn limits() -> Vec<(&'static str, u128)> {
        let step = app::Limits::default();
        vec![
            ("memory_bytes", step.memory as u128),
            ("event_ms", step.event.as_millis()),
            ("batch_ms", step.batch.as_millis()),
            ("event_records", LIMITS.event_records as u128),
            ("event_bytes", LIMITS.event_bytes as u128),
            ("entry_bytes", LIMITS.entry_bytes as u128),
            ("stack_bytes", STACK as u128),
            ("file_bytes", SIZE_LIMIT as u128),
        ]
    }
}

// === impl Candidate ===

impl Candidate {
    /// What the plug-in declares and imports.
    pub fn inspect(&self) -> PluginInfo {
        let (plugin, declared) = (&self.plugin, &self.plugin.declared);
        let stores = declared.stores.iter();
        PluginInfo {
            contract: plugin.contract(),
            name: declared.name.clone(),
            version: declared.version.clone(),
            summary: declared.summary.clone(),
            digest: plugin.digest.clone(),
            size: self.size,
            inputs: declared.inputs.clone(),
            outputs: declared.outputs.clone(),
            stores: stores
                .map(|store| (store.name.clone(), store.schema_version))
                .collect(),
            counters: declared.counters.clone(),
            imports: plugin.imports(),
            config_schema: plugin.facts.config_schema.clone(),
        }
    }

    /// A step that binds each port to a topic with the same name.
    pub(super) fn step(&self, config: Value) -> Step {
        let declared = &self.plugin.declared;
        let inputs = declared.inputs.iter();
        let outputs = declared.outputs.iter();
        Step {
            app: "test".to_owned(),
            name: declared.name.clone(),
            plugin: declared.name.clone(),
            input: inputs
                .map(|port| (port.clone(), vec![port.clone()]))
                .collect(),
            output: outputs.map(|port| (port.clone(), port.clone())).collect(),
            config,
            limits: app::Limits::default(),
            workers: 1,
            location: Location {
                file: Arc::new(PathBuf::new()),
                line: 0,
            },
        }
    }
}
