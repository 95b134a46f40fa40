//! What the author of a plug-in wants to know of a file, without a line that runs it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use formline_core::app::{self, Location, Step};
use serde_json::Value;

use crate::{
    batch, catalog,
    error::Error,
    plugin::{ENTRY_LIMIT, Engine, Plugin, SIZE_LIMIT, STACK},
};

/// A place to look at plug-in files.
#[derive(Debug)]
pub struct Workbench {
    engine: Engine,
}

/// A plug-in that was read from a file.
#[derive(Debug)]
pub struct Candidate {
    pub(crate) plugin: Plugin,
    size: u64,
}

/// All that a plug-in file says of itself.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The contract that it was built against, such as `formline:plugin@0.2.0`.
    pub contract: String,
    /// Name of the plug-in.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does, in its own words.
    pub summary: String,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// Bytes of the file.
    pub size: u64,
    /// Names of its input ports.
    pub inputs: Vec<String>,
    /// Names of its output ports.
    pub outputs: Vec<String>,
    /// Its stores, each with the version of its schema.
    pub stores: Vec<(String, u32)>,
    /// Names of its counters.
    pub counters: Vec<String>,
    /// Everything that the component imports.
    pub imports: Vec<String>,
    /// JSON Schema of its configuration.
    pub config_schema: Value,
}

// === impl Workbench ===

impl Workbench {
    /// `cache` keeps compiled code; it is made if it is not there, and must belong to the process's user alone.
    pub fn open(cache: &Path) -> Result<Self, Error> {
        let engine = Engine::new(cache)?;
        Ok(Self { engine })
    }

    /// Compiles a file and asks it what it is. The error says why it cannot be used.
    pub fn load(&self, file: &Path) -> Result<Candidate, String> {
        let plugin = catalog::read(&self.engine, file)?;
        let found = std::fs::metadata(file).map_err(|error| error.to_string())?;
        Ok(Candidate {
            plugin,
            size: found.len(),
        })
    }

    /// What a plug-in may use, each limit with its unit in its name. The first three are those of a step whose app sets
    /// no others.
    pub fn limits() -> Vec<(&'static str, u128)> {
        let step = app::Limits::default();
        let batch = batch::Limits::new(step.batch);
        vec![
            ("memory_bytes", step.memory as u128),
            ("event_ms", step.event.as_millis()),
            ("batch_ms", step.batch.as_millis()),
            ("event_records", batch.outputs as u128),
            ("event_bytes", batch.event_bytes as u128),
            ("entry_bytes", ENTRY_LIMIT as u128),
            ("stack_bytes", STACK as u128),
            ("file_bytes", SIZE_LIMIT as u128),
        ]
    }
}

// === impl Candidate ===

impl Candidate {
    /// What it says of itself.
    pub fn inspect(&self) -> Inspected {
        let (plugin, declared) = (&self.plugin, &self.plugin.declared);
        let stores = declared.stores.iter();
        Inspected {
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

    /// A step that binds every port to a topic of its name.
    pub(crate) fn step(&self, config: Value) -> Step {
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
