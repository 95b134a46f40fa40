//! Arguments of the commands that generate files from the command line itself.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// `formline completions`
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Shell to generate the script for
    pub(crate) shell: Shell,
}

/// `formline man`
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Write one page per command to this folder instead of printing the main page
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}
