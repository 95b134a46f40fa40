//! `formline`, the one binary: reads what the user typed and runs the command. What a command does lies in `commands`.

mod arguments;
mod commands;
mod line;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Arguments;

/// BSD's EX_USAGE: the command or what it was given is wrong.
const WRONG_USE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => {
            // Help and version are answers, not errors.
            let code = if message.use_stderr() { WRONG_USE } else { 0 };
            // Nobody is left to tell when even this cannot be printed.
            let _ = message.print();
            return code.into();
        }
    };
    formline_core::telemetry::log_to_stderr(arguments.log_format.into());
    match commands::run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<commands::Mistakes>() => {
            eprintln!("{error}");
            WRONG_USE.into()
        }
        Err(error) => {
            eprintln!("formline: {error:#}");
            ExitCode::FAILURE
        }
    }
}
