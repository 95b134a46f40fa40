//! One ownership of a tab's partitions, as the sink's task sees it: from finding the newest mark until the partitions go
//! or somebody else writes. The rows wait `in_memory`, or `through_redis`.

use std::fmt;

use formline_core::{Record, client, record::Partition};
use futures::future::BoxFuture;

use super::{delivery::Delivered, kafka::Chased, puts, through_redis};
use crate::{Error, parking::Letter};

/// Holds rows until their turn. It leaves reading Kafka to `worker`.
pub(crate) trait Session: fmt::Debug + Send {
    /// Where a new owner would begin to read a partition, if that is known.
    fn low(&self, partition: &Partition) -> Option<i64>;

    /// Rows that are not in the sheet yet.
    fn buffered(&self) -> usize;

    /// Whether reading should pause until there is room.
    fn is_draining(&self) -> bool;

    /// Takes what was read.
    fn take(&mut self, record: Record);

    /// Dead letters to be parked; `parked` must be told of each.
    fn letters(&mut self) -> Vec<Letter>;

    /// A dead letter is in Kafka, and its record done with.
    fn parked(&mut self, record: &Record);

    /// Starts what is due. `read` says where each partition will be read next, and control records can carry that
    /// beyond the last record.
    fn advance(&mut self, assigned: &[Partition], read: &[(Partition, i64)]) -> Result<(), Error>;

    /// Waits for something to end. Cancel safe.
    fn happened(&mut self) -> BoxFuture<'_, Happened>;

    /// Takes note of it.
    fn settle(&mut self, happened: Happened) -> Result<Settled, Error>;

    /// Waits for what is in hand, if there is something. Cancel safe.
    fn finish(&mut self) -> BoxFuture<'_, Settled>;
}

/// What a session waited for.
#[derive(Debug)]
pub(crate) enum Happened {
    Delivered(Box<Delivered>),
    Chased(Result<Chased, client::Error>),
    Put(puts::Ended),
    Flushed(Box<through_redis::Flushed>),
}

/// What follows from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Settled {
    Nothing,
    /// Offsets can be committed.
    Written,
    /// The tab is closed: commit, and look for the one that goes on.
    Closed,
    /// Somebody else has written, or what was held is lost: look again.
    Lost,
}
