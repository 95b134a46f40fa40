//! What an app has to know about the available plug-ins.

use serde_json::Value;

/// What a plug-in declares about itself, as far as an app depends on it.
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

/// The available plug-ins.
pub trait Plugins {
    /// Returns what is known about the plug-in that a step refers to, if there is one.
    fn find(&self, reference: &str) -> Option<PluginFacts>;

    /// All names, for diagnostics.
    fn names(&self) -> Vec<String>;

    /// Whether the available plug-ins are known. If not, steps are not compared with them.
    fn are_known(&self) -> bool {
        true
    }
}

/// Represents a plug-in folder that cannot be read, so that everything else can still be checked.
#[derive(Clone, Copy, Debug)]
pub struct UnknownPlugins;

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
