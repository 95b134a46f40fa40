//! `formline man`: prints the manual page, or writes the pages of all commands to a folder.

use std::{
    fs,
    io::{self, Write as _},
};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

use crate::{
    arguments::{Arguments, ManArgs},
    terminal,
};

pub(super) fn run(arguments: &ManArgs) -> Result<()> {
    let command = Arguments::command();
    if let Some(folder) = &arguments.output {
        return fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command, folder))
            .with_context(|| format!("cannot write the manual pages to {}", folder.display()));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    let printed = io::stdout().write_all(&page);
    terminal::unless_closed(printed.map_err(Into::into))
}
