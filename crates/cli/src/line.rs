//! The parts of a running process: started together, told together to stop, waited for together.

use std::{future::Future, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use formline_core::{Shutdown, Telemetry, shutdown::Ending, telemetry::Part};
use tokio::{net::TcpListener, sync::mpsc};

/// A process that runs until it is told to stop or one of its parts fails for good.
pub(crate) struct Line {
    pub(crate) shutdown: Shutdown,
    pub(crate) telemetry: Telemetry,
    /// Not ready until every part has been added: a process that still prepares topics must not be sent anything.
    start: Part,
    grace: Duration,
    failed: mpsc::Receiver<anyhow::Error>,
    report: mpsc::Sender<anyhow::Error>,
}

// === impl Line ===

impl Line {
    /// Begins with the admin listener, so that the process can be watched while it starts.
    pub(crate) async fn begin(admin: SocketAddr, grace: Duration) -> Result<Self> {
        // One failure is enough to stop; later ones are logged by their parts.
        let (report, failed) = mpsc::channel(1);
        let shutdown = Shutdown::on_signals()?;
        let telemetry = Telemetry::new();
        let start = telemetry.part("start");
        let line = Self {
            shutdown,
            telemetry,
            start,
            grace,
            failed,
            report,
        };
        let listener = listen(admin, "--admin").await?;
        // Not waited for: it serves until the process ends.
        tokio::spawn(line.telemetry.clone().serve(listener));
        Ok(line)
    }

    /// Adds a part. If it fails, the whole process stops with its error.
    pub(crate) fn part(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        let report = self.report.clone();
        self.shutdown.spawn(async move {
            if let Err(error) = work.await {
                let error = error.context(format!("{name} failed"));
                if let Err(second) = report.try_send(error) {
                    tracing::error!(error = %second, "another part failed while the process stops");
                }
            }
        });
    }

    /// Does something that must not outlive the process, and stops waiting for it when the shutdown begins.
    pub(crate) async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<Option<T>> {
        tokio::select! {
            done = work => done.map(Some),
            () = self.shutdown.begun() => Ok(None),
        }
    }

    /// Waits for the end: a signal, or the failure of a part. Then gives all parts the grace period.
    pub(crate) async fn run(mut self) -> Result<()> {
        self.start.ready();
        let failure = tokio::select! {
            failure = self.failed.recv() => failure,
            () = self.shutdown.begun() => None,
        };
        self.shutdown.begin();
        tracing::info!("stopping");
        match self.shutdown.finish(self.grace).await {
            Ending::Finished => tracing::info!("stopped"),
            Ending::GaveUp => {
                tracing::warn!(grace = ?self.grace, "stopped before everything in hand was finished");
            }
        }
        let failure = failure.or_else(|| self.failed.try_recv().ok());
        failure.map_or(Ok(()), Err)
    }
}

/// Binds an address that a flag names.
pub(crate) async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address with {flag}"))
}

/// Runs a command's asynchronous part. Blocking parts are cut off when it returns.
pub(crate) fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}
