//! The commands, one file or folder each.

mod check;
mod completions;
mod dlq;
mod flush;
mod ingest;
mod man;
mod plugin;
mod process;
mod sheets_emulator;
mod sink;
mod tap;
mod top;
mod topics;
mod trace;
mod up;
mod verify;

use anyhow::Result;

use crate::arguments::{Command, TopicsCommand};

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Up(arguments) => up::run(&arguments),
        Command::Ingest(arguments) => ingest::run(&arguments),
        Command::Process(arguments) => process::run(&arguments),
        Command::Sink(arguments) => sink::run(&arguments),
        Command::Flush(arguments) => flush::run(&arguments),
        Command::SheetsEmulator(arguments) => sheets_emulator::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Topics(TopicsCommand::Apply(arguments)) => topics::run(&arguments),
        Command::Plugin(command) => plugin::run(&command),
        Command::Tap(arguments) => tap::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
        Command::Dlq(command) => dlq::run(&command),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}
