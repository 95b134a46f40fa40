//! An event of a batch, and its outcome.

use std::sync::Arc;

use formline_core::kafka::record::{Partition, Record};

/// Where the events of a batch come from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) partition: Partition,
    /// The plug-in's name for the input.
    pub(crate) port: Arc<str>,
}

/// A record that the plug-in processes.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) record: Record,
    /// Previous attempts: how often the plug-in has received the event before.
    pub(crate) attempts: u32,
    /// Whether the event repeats a submission at a lower offset of the partition, or is a replay
    /// for another group. The plug-in does not receive it.
    pub(crate) is_duplicate: bool,
}

/// The outcome of an event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum EventOutcome {
    Accepted,
    Skipped,
    Duplicate,
    DeadLettered(DeadLetterReason),
}

/// Why an event becomes a dead letter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct DeadLetterReason {
    /// One of a fixed set of words, for metrics.
    pub(crate) kind: &'static str,
    /// The stable code of the dead letter.
    pub(crate) code: String,
    pub(crate) detail: String,
    pub(crate) attempts: u32,
}

// === impl Event ===

impl Event {
    /// A record that no plug-in has received yet.
    pub(crate) fn first_attempt(record: Record) -> Self {
        Self {
            record,
            attempts: 0,
            is_duplicate: false,
        }
    }
}
