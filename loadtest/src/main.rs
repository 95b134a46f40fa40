//! `formline-loadtest`: reads what the user typed and runs it until it ends or is told to stop.

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
    let done = runtime.block_on(async {
        tokio::select! {
            // Dropped, a bench stops its children.
            done = Box::pin(work(command)) => done,
            told = told_to_stop() => told.and_then(|()| {
                anyhow::ensure!(!is_bench, "stopped before its end");
                Ok(())
            }),
        }
    });
    // Threads that still send or copy are cut off.
    runtime.shutdown_background();
    done
}

async fn work(command: Command) -> Result<()> {
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
            // Not an argument: those of all processes can be read by everybody.
            let url = std::env::var("FORMLINE_POSTGRES_URL");
            let url = url.context("FORMLINE_POSTGRES_URL must name the database")?;
            store_loop::run(&bootstrap, &topic, batch, &url).await
        }
    }
}

/// SIGINT or SIGTERM.
async fn told_to_stop() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
