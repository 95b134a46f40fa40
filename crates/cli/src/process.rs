//! The lifecycle of a long-running process: its components start together, and stop together.

use std::{future::Future, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use formline_core::{Shutdown, Telemetry, shutdown::ShutdownOutcome, telemetry::HealthCheck};
use tokio::{net::TcpListener, sync::mpsc};

use crate::version::{BUILD_DATE, COMMIT};

/// A process that runs until it is asked to stop or one of its components fails.
pub(crate) struct Process {
    pub(crate) shutdown: Shutdown,
    pub(crate) telemetry: Telemetry,
    /// Keeps the process unready until every component was added: while topics are being created it
    /// must not receive requests.
    start: HealthCheck,
    grace: Duration,
    failed: mpsc::Receiver<anyhow::Error>,
    report: mpsc::Sender<anyhow::Error>,
}

// === impl Process ===

impl Process {
    /// Starts with the admin listener, so that operators can watch the process while it starts.
    ///
    /// # Errors
    /// If the admin address cannot be bound, or signal handlers cannot be installed.
    pub(crate) async fn start(admin: SocketAddr, grace: Duration) -> Result<Self> {
        // The first failure stops the process; components log later ones themselves.
        let (report, failed) = mpsc::channel(1);
        let shutdown = Shutdown::on_signals()?;
        let telemetry = Telemetry::new();
        telemetry.set_build_info(env!("CARGO_PKG_VERSION"), COMMIT, BUILD_DATE);
        let start = telemetry.startup_check("start");
        let process = Self {
            shutdown,
            telemetry,
            start,
            grace,
            failed,
            report,
        };
        let listener = listen(admin, "--admin").await?;
        // Not awaited on shutdown: it serves until the process exits.
        tokio::spawn(process.telemetry.clone().serve(listener));
        Ok(process)
    }

    /// Runs a component. If it fails, the whole process stops with its error.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        component: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        let report = self.report.clone();
        self.shutdown.spawn(async move {
            if let Err(error) = component.await {
                let error = error.context(format!("{name} failed"));
                if let Err(second) = report.try_send(error) {
                    tracing::error!(
                        error = %second,
                        "another component failed while the process was stopping"
                    );
                }
            }
        });
    }

    /// Runs `work` to its end, or returns `None` once the shutdown has begun.
    pub(crate) async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<Option<T>> {
        tokio::select! {
            done = work => done.map(Some),
            () = self.shutdown.begun() => Ok(None),
        }
    }

    /// Waits for a signal or the failure of a component, then gives all components the grace period
    /// to finish.
    ///
    /// # Errors
    /// The failure of the component that stopped the process.
    pub(crate) async fn run(mut self) -> Result<()> {
        self.start.ready();
        let failure = tokio::select! {
            failure = self.failed.recv() => failure,
            () = self.shutdown.begun() => None,
        };
        self.shutdown.begin();
        tracing::info!("stopping");
        match self.shutdown.finish(self.grace).await {
            ShutdownOutcome::Completed => tracing::info!("stopped"),
            ShutdownOutcome::TimedOut => {
                tracing::warn!(
                    grace = ?self.grace,
                    "stopped before all work in progress was finished"
                );
            }
        }
        let failure = failure.or_else(|| self.failed.try_recv().ok());
        failure.map_or(Ok(()), Err)
    }
}

/// Binds an address; `flag` is named in the error as the way to choose another one.
pub(crate) async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address with {flag}"))
}

/// Runs the asynchronous part of a command. Blocking tasks that are left are abandoned when it
/// returns.
pub(crate) fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}
