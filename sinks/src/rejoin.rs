//! The membership of a sink in its consumer group, for as long as it runs: a consumer that has failed is replaced.

use std::time::Duration;

use formline_core::{Consumer, consumer, retry::Backoff};
use tokio::time::Instant;

use crate::{Error, run::Common};

/// Says when a sink joins its group, and waits in between.
pub(crate) struct Rejoin<'a> {
    common: &'a Common,
    backoff: Backoff,
    joined: Instant,
}

/// A membership that has lasted so long was healthy; the next one is not waited for as if it had failed at once.
const HEALTHY: Duration = Duration::from_secs(60);

// === impl Rejoin ===

impl<'a> Rejoin<'a> {
    pub(crate) fn new(common: &'a Common) -> Self {
        Self {
            common,
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
            joined: Instant::now(),
        }
    }

    /// Whether to join, for the first time or once more: not once the shutdown has begun.
    pub(crate) fn is_wanted(&mut self) -> bool {
        self.joined = Instant::now();
        !self.common.shutdown.has_begun()
    }

    /// A new member of the group.
    pub(crate) fn join(&self, topics: Vec<String>) -> Result<Consumer, Error> {
        let options = consumer::Options {
            group: self.common.sink.group(),
            member: self.common.member.clone(),
            topics,
        };
        Ok(Consumer::join(&self.common.client, &options)?)
    }

    /// Waits before the next membership if this one has ended because its consumer failed.
    ///
    /// # Errors
    /// If it has ended for another reason.
    pub(crate) async fn after(&mut self, ended: Result<(), Error>) -> Result<(), Error> {
        let Err(Error::Consumer(error @ consumer::Error::Failed(_))) = ended else {
            return ended;
        };
        if self.joined.elapsed() >= HEALTHY {
            self.backoff.reset();
        }
        tracing::warn!(%error, sink = self.common.sink.group(), "joining the group anew");
        tokio::select! {
            () = self.common.shutdown.begun() => {}
            () = tokio::time::sleep(self.backoff.delay()) => {}
        }
        Ok(())
    }
}
