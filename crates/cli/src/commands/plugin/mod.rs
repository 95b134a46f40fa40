//! `formline plugin`: the commands for authors of plug-ins.

mod build;
mod digest;
mod inspect;
mod list;
mod new;
mod running;
mod test;

use anyhow::Result;

use crate::arguments::PluginCommand;

pub(super) fn run(command: &PluginCommand) -> Result<()> {
    match command {
        PluginCommand::New(arguments) => new::run(arguments),
        PluginCommand::Build(arguments) => build::run(arguments),
        PluginCommand::Test(arguments) => test::run(arguments),
        PluginCommand::List(arguments) => list::run(arguments),
        PluginCommand::Inspect(arguments) => inspect::run(arguments),
    }
}
