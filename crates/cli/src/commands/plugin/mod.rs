//! `formline plugin`: what the author of a plug-in types.

mod build;
mod inspect;
mod list;
mod new;
mod running;
mod test;

use std::io::{self, Write as _};

use anyhow::Result;

use crate::arguments::Plugin;

pub(super) fn run(command: &Plugin) -> Result<()> {
    match command {
        Plugin::New(arguments) => new::run(arguments),
        Plugin::Build(arguments) => build::run(arguments),
        Plugin::Test(arguments) => test::run(arguments),
        Plugin::List(arguments) => list::run(arguments),
        Plugin::Inspect(arguments) => inspect::run(arguments),
    }
}

/// Prints an answer.
fn say(answer: &str) -> Result<()> {
    match writeln!(io::stdout(), "{}", answer.trim_end()) {
        // Whoever reads it, such as `head`, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
