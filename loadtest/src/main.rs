//! `formline-loadtest`: parses the command line and runs the command until it ends or a signal
//! stops it.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use formline_core::telemetry::{self, LogFormat};
use formline_loadtest::{
    Arguments, Command,
    bare::{copy_loop, handler, store_loop},
};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::log_to_stderr(LogFormat::Text);
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("formline-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let is_bench = matches!(command, Command::Bench(_));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        tokio::select! {
            // Dropping the future of a bench stops its child processes.
            result = Box::pin(execute(command)) => result,
            stopped = stop_signal() => stopped.and_then(|()| {
                anyhow::ensure!(!is_bench, "a signal stopped the bench before its end");
                Ok(())
            }),
        }
    });
    // Does not wait for threads that still send or copy.
    runtime.shutdown_background();
    result
}

async fn execute(command: Command) -> Result<()> {
    match command {
        Command::Bench(bench) => formline_loadtest::run(&bench).await,
        Command::BareHandler { listen } => handler::serve(listen).await,
        Command::BareLoops {
            bootstrap,
            topics,
            batch,
        } => copy_loop::run_chain(&bootstrap, &topics, batch).await,
        Command::BareStore {
            bootstrap,
            topic,
            batch,
        } => {
            // The URL is no argument, because all users can read the arguments of a process.
            let url = std::env::var("FORMLINE_POSTGRES_URL");
            let url = url.context("set FORMLINE_POSTGRES_URL to the URL of the database")?;
            store_loop::run(&bootstrap, &topic, batch, &url).await
        }
    }
}

/// Waits for SIGINT or SIGTERM.
async fn stop_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
