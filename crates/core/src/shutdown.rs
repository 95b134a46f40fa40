//! How the process stops: it accepts no more work, completes the work in progress, and exits when
//! the grace period expires.

use std::{future::Future, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Announces the shutdown to every component of the process and tracks their tasks. Cheap to clone;
/// all clones share their state.
///
/// ```
/// use std::time::Duration;
///
/// use formline_core::{Shutdown, shutdown::ShutdownOutcome};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let shutdown = Shutdown::new();
/// let signal = shutdown.clone();
/// shutdown.spawn(async move { signal.begun().await });
/// shutdown.begin();
/// let outcome = shutdown.finish(Duration::from_secs(5)).await;
/// assert_eq!(outcome, ShutdownOutcome::Completed);
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The outcome of [`Shutdown::finish`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShutdownOutcome {
    /// Every task has ended.
    Completed,
    /// The grace period expired first. The process resumes the interrupted work at its next start.
    TimedOut,
}

// === impl Shutdown ===

impl Shutdown {
    /// Creates a shutdown that begins when [`begin`](Self::begin) is called.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a shutdown that begins on SIGTERM or SIGINT. A second signal exits the process at
    /// once.
    pub fn on_signals() -> std::io::Result<Self> {
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let shutdown = Self::new();
        let stop = shutdown.stop.clone();
        // Not tracked: this task waits for signals until the process exits.
        tokio::spawn(async move {
            for count in 0.. {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if count > 0 {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "a second signal requests an immediate exit"
                    )]
                    std::process::exit(1);
                }
                stop.cancel();
            }
        });
        Ok(shutdown)
    }

    /// Begins the shutdown.
    pub fn begin(&self) {
        self.stop.cancel();
    }

    /// Returns whether the shutdown has begun.
    pub fn has_begun(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until the shutdown begins. Cancel safe.
    pub async fn begun(&self) {
        self.stop.cancelled().await;
    }

    /// Returns the underlying token, for libraries that require one.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Spawns a task that [`finish`](Self::finish) waits for.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Runs blocking work on a thread of its own, which [`finish`](Self::finish) waits for.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.tasks.spawn_blocking(work)
    }

    /// Waits up to `grace` until every task has ended. Call it after the shutdown has begun.
    pub async fn finish(&self, grace: Duration) -> ShutdownOutcome {
        self.tasks.close();
        match tokio::time::timeout(grace, self.tasks.wait()).await {
            Ok(()) => ShutdownOutcome::Completed,
            Err(_) => ShutdownOutcome::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_in_progress_is_completed() {
        let shutdown = Shutdown::new();
        let signal = shutdown.clone();
        let work = shutdown.spawn(async move {
            signal.begun().await;
            "completed"
        });
        shutdown.begin();
        assert_eq!(
            shutdown.finish(Duration::from_secs(5)).await,
            ShutdownOutcome::Completed
        );
        assert_eq!(work.await.expect("the task has run"), "completed");
    }

    #[tokio::test]
    async fn work_that_never_ends_is_abandoned_after_the_grace_period() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending::<()>());
        shutdown.begin();
        assert_eq!(
            shutdown.finish(Duration::from_millis(1)).await,
            ShutdownOutcome::TimedOut
        );
    }
}
