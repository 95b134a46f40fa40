//! `formline completions SHELL`: prints a completion script.

use std::io::{self, Write as _};

use anyhow::Result;
use clap::CommandFactory as _;

use crate::{
    arguments::{Arguments, CompletionsArgs},
    terminal,
};

pub(super) fn run(arguments: &CompletionsArgs) -> Result<()> {
    let mut command = Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "formline", &mut script);
    let printed = io::stdout().write_all(&script);
    terminal::unless_closed(printed.map_err(Into::into))
}
