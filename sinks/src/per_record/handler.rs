//! How a kind of sink delivers one record.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{
    attempt::{Attempt, DeliveryStatus},
    entry::{JournalEntry, RecordedEntry},
    tracker::AttemptTracker,
};
use crate::error::Error;

/// Delivers the records of one sink.
pub(crate) trait RecordHandler: Send + Sync + 'static {
    /// Where it records its attempts.
    fn tracker(&self) -> &AttemptTracker;

    /// How far back it must know its own entries, independent of the committed offsets.
    fn memory(&self) -> Duration {
        Duration::ZERO
    }

    /// Takes the entries of that time, oldest first.
    fn recall(&self, _: &[RecordedEntry]) {}

    /// Limit of records of one partition that are in flight at the same time.
    fn max_in_flight(&self) -> usize {
        1
    }

    /// Makes an attempt that is due. `last` is the entry that counts of those about the record.
    /// Waits for as long as the other side is unavailable, but not after `stop`.
    ///
    /// # Errors
    /// If the sink must stop.
    fn deliver<'a>(
        &'a self,
        attempt: &'a Attempt,
        last: Option<&'a JournalEntry>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<DeliveryStatus, Error>>;
}
