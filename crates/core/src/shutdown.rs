//! How the process stops: stop taking, finish what is in hand, give up after the grace period.

use std::{future::Future, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Told to every part of the process. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// How stopping ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Every part has finished its work.
    Finished,
    /// The grace period was over first. What was in hand is taken up again at the next start.
    GaveUp,
}

// === impl Shutdown ===

impl Shutdown {
    /// A shutdown that begins only when somebody asks for it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins when the process gets SIGTERM or SIGINT. A second signal ends the process at once.
    pub fn on_signals() -> std::io::Result<Self> {
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let shutdown = Self::new();
        let stop = shutdown.stop.clone();
        // Not tracked: it waits for signals until the process ends.
        tokio::spawn(async move {
            for count in 0.. {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if count > 0 {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "who asks twice does not want to wait"
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

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until it begins. Cancel safe.
    pub async fn begun(&self) {
        self.stop.cancelled().await;
    }

    /// The same as a token, for libraries that want one.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task that the process waits for before it ends.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Runs blocking work on a thread of its own, which the process waits for before it ends.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.tasks.spawn_blocking(work)
    }

    /// Waits, after the shutdown has begun, until every task has ended, at most for `grace`.
    pub async fn finish(&self, grace: Duration) -> Ending {
        self.tasks.close();
        match tokio::time::timeout(grace, self.tasks.wait()).await {
            Ok(()) => Ending::Finished,
            Err(_) => Ending::GaveUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_in_hand_is_finished() {
        let shutdown = Shutdown::new();
        let told = shutdown.clone();
        let work = shutdown.spawn(async move {
            told.begun().await;
            "finished"
        });
        shutdown.begin();
        assert_eq!(
            shutdown.finish(Duration::from_secs(5)).await,
            Ending::Finished
        );
        assert_eq!(work.await.expect("it ran"), "finished");
    }

    #[tokio::test]
    async fn work_that_never_ends_is_given_up() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending::<()>());
        shutdown.begin();
        assert_eq!(
            shutdown.finish(Duration::from_millis(1)).await,
            Ending::GaveUp
        );
    }
}
