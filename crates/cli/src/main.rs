//! `formline`, the binary: parses the command line, runs the command and maps its result to an exit
//! code. The commands are in `commands`.

mod admin;
mod arguments;
mod commands;
mod installation;
mod process;
#[cfg(test)]
mod reference;
mod terminal;
mod time_arg;
mod version;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{arguments::Arguments, installation::Diagnostics};

/// BSD's EX_USAGE: the command line or the configuration is wrong.
const WRONG_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => {
            // Help and version are results, not errors.
            let code = if message.use_stderr() { WRONG_USAGE } else { 0 };
            // If this cannot be printed, nothing else can be either.
            let _ = message.print();
            return code.into();
        }
    };
    formline_core::telemetry::log_to_stderr(arguments.log_format.into());
    raise_file_limit();
    match commands::run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Diagnostics>() => {
            eprintln!("{error}");
            WRONG_USAGE.into()
        }
        Err(error) => {
            eprintln!("formline: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without the causes that an earlier text already includes.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.as_str() {
            "" => cause,
            earlier if earlier.contains(&cause) => text,
            earlier => format!("{earlier}: {cause}"),
        }
    })
}

/// Raises the soft limit of open files to the hard limit: each connection is an open file, and the
/// default soft limit is often 1,024.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
