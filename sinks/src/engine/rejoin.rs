//! Decides when a sink joins its consumer group again after its consumer failed.

use std::time::Duration;

use formline_core::{
    Consumer,
    kafka::consumer::{ConsumerError, ConsumerOptions},
    retry::Backoff,
};
use tokio::time::Instant;

use super::context::SinkContext;
use crate::error::Error;

/// The memberships of one sink, one after another.
pub(crate) struct Rejoin<'a> {
    context: &'a SinkContext,
    backoff: Backoff,
    joined: Instant,
}

/// A membership that lasted this long was healthy, so the delays start over after it.
const HEALTHY: Duration = Duration::from_secs(60);

// === impl Rejoin ===

impl<'a> Rejoin<'a> {
    pub(crate) fn new(context: &'a SinkContext) -> Self {
        Self {
            context,
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
            joined: Instant::now(),
        }
    }

    /// Whether to join, for the first time or again: not once the shutdown has begun.
    pub(crate) fn is_wanted(&mut self) -> bool {
        self.joined = Instant::now();
        !self.context.shutdown.has_begun()
    }

    /// Joins the group as a new member.
    pub(crate) fn join(&self) -> Result<Consumer, Error> {
        let options = ConsumerOptions {
            group: self.context.sink.group(),
            member: self.context.member.clone(),
            topics: self.context.sink.topics(),
        };
        Ok(Consumer::join(&self.context.client, &options)?)
    }

    /// Waits before the next membership if this one ended because its consumer failed.
    ///
    /// # Errors
    /// If it ended for another reason.
    pub(crate) async fn after(&mut self, ended: Result<(), Error>) -> Result<(), Error> {
        let Err(Error::Consumer(error @ ConsumerError::Failed(_))) = ended else {
            return ended;
        };
        if self.joined.elapsed() >= HEALTHY {
            self.backoff.reset();
        }
        let sink = self.context.sink.group();
        tracing::warn!(%error, sink, "the consumer failed; joining the group again");
        tokio::select! {
            () = self.context.shutdown.begun() => {}
            () = tokio::time::sleep(self.backoff.delay()) => {}
        }
        Ok(())
    }
}
