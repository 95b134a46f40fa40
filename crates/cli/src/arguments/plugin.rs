//! What can be typed behind `formline plugin`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Data, Folders, Output, PluginFolder, Running};

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Write a crate that is a working plug-in, to begin with
    New(PluginNew),
    /// Build a plug-in from its crate
    Build(PluginBuild),
    /// Run a plug-in on a folder of cases, and show what differs from what they expect
    Test(PluginTest),
    /// List the plug-in folder and which steps use what; of running processes, what their steps run and what became of
    /// files that were dropped
    List(PluginList),
    /// Show what a plug-in file says of itself
    Inspect(PluginInspect),
}

#[derive(Args, Debug)]
pub(crate) struct PluginNew {
    /// Name of the plug-in and of its crate
    pub(crate) name: String,
    /// Folder of the crate [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
    /// Where the SDK is: a folder, or the address of a git repository [default: plugins/sdk here or in a folder above]
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) sdk: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct PluginBuild {
    /// Folder of the crate
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Put it into the plug-in folder, where a running line picks it up
    #[arg(long)]
    pub(crate) install: bool,
    #[command(flatten)]
    pub(crate) plugins: PluginFolder,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct PluginTest {
    /// The plug-in, a .wasm
    pub(crate) file: PathBuf,
    /// Folder of the cases, each a folder with events.jsonl
    pub(crate) cases: PathBuf,
    /// Make what comes what is expected
    #[arg(long)]
    pub(crate) update: bool,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct PluginList {
    #[command(flatten)]
    pub(crate) url: Running,
    #[command(flatten)]
    pub(crate) folders: Folders,
    #[command(flatten)]
    pub(crate) plugins: PluginFolder,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct PluginInspect {
    /// The plug-in, a .wasm
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) output: Output,
}
