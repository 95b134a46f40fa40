//! `formline`, the one binary: reads what the user typed and runs the command. What a command does lies in `commands`.

mod admin;
mod arguments;
mod commands;
mod line;
mod moment;

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
    raise_file_limit();
    match commands::run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<commands::Mistakes>() => {
            eprintln!("{error}");
            WRONG_USE.into()
        }
        Err(error) => {
            eprintln!("formline: {}", in_full(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without those that a text before already includes.
fn in_full(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        match said.as_str() {
            "" => cause,
            text if text.contains(&cause) => said,
            text => format!("{text}: {cause}"),
        }
    })
}

/// Each connection is an open file, and many systems begin a process with room for 1,024 of them.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the number of open files could not be raised");
    }
}
