//! Arguments of `formline plugin`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::shared::{AdminUrls, AppFolders, DataFolder, OutputArgs, PluginFolder};

/// `formline plugin`
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Create a crate with a working example plug-in
    #[command(after_help = "\
Examples:
  formline plugin new keep-some
  formline plugin new keep-some --path ~/plugins/keep-some --sdk https://example.org/formline.git")]
    New(PluginNewArgs),
    /// Build a plug-in from its crate
    ///
    /// Runs cargo build --release --target wasm32-wasip2. With --install the component is also
    /// copied into the plug-in folder, where running processes swap it in.
    #[command(after_help = "\
Examples:
  formline plugin build keep-some --install")]
    Build(PluginBuildArgs),
    /// Run a plug-in on a folder of test cases, and show how the results differ from the expected
    /// ones
    ///
    /// Each case is a folder with events.jsonl, and optionally config.json and expected.jsonl. The
    /// plug-in runs under the same limits as in a step, without Kafka. Exits with 1 if a case
    /// fails.
    #[command(after_help = "\
Examples:
  formline plugin test formline-data/plugins/keep_some.wasm keep-some/cases
  formline plugin test formline-data/plugins/keep_some.wasm keep-some/cases --update")]
    Test(PluginTestArgs),
    /// List the plug-in files, the steps that use them, and the plug-ins of running processes
    ///
    /// For each running process that --url names: the plug-in of each step, and the decisions about
    /// files that were put into the folder. A process that does not respond is no error.
    #[command(after_help = "\
Examples:
  formline plugin list
  formline plugin list --url http://10.0.0.1:8081 --json")]
    List(PluginListArgs),
    /// Show the contract, ports, stores, imports, limits and configuration schema of a plug-in file
    #[command(after_help = "\
Examples:
  formline plugin inspect formline-data/plugins/rows.wasm")]
    Inspect(PluginInspectArgs),
}

/// `formline plugin new`
#[derive(Args, Debug)]
pub(crate) struct PluginNewArgs {
    /// Name of the plug-in and of its crate
    pub(crate) name: String,
    /// Folder of the crate [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
    /// Location of the SDK: a folder, or the URL of a git repository [default: plugins/sdk in the
    /// current folder or above it]
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) sdk: Option<String>,
}

/// `formline plugin build`
#[derive(Args, Debug)]
pub(crate) struct PluginBuildArgs {
    /// Folder of the crate
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Copy the component into the plug-in folder
    #[arg(long)]
    pub(crate) install: bool,
    #[command(flatten)]
    pub(crate) plugins: PluginFolder,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `formline plugin test`
#[derive(Args, Debug)]
pub(crate) struct PluginTestArgs {
    /// Plug-in file, a .wasm
    pub(crate) file: PathBuf,
    /// Folder of the test cases
    pub(crate) cases: PathBuf,
    /// Replace the expected results by the actual ones
    #[arg(long)]
    pub(crate) update: bool,
    #[command(flatten)]
    pub(crate) data: DataFolder,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `formline plugin list`
#[derive(Args, Debug)]
pub(crate) struct PluginListArgs {
    #[command(flatten)]
    pub(crate) url: AdminUrls,
    #[command(flatten)]
    pub(crate) folders: AppFolders,
    #[command(flatten)]
    pub(crate) plugins: PluginFolder,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `formline plugin inspect`
#[derive(Args, Debug)]
pub(crate) struct PluginInspectArgs {
    /// Plug-in file, a .wasm
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataFolder,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
