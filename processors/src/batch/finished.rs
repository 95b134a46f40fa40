//! The results of a batch, ready to be published.

use super::{
    event::{DeadLetterReason, Event, EventOutcome, Source},
    output::Output,
};

/// The completed part of a batch.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) source: Source,
    /// The completed events with their outcomes. At least one.
    pub(crate) events: Vec<(Event, EventOutcome)>,
    pub(crate) outputs: Vec<Output>,
    /// What the accepted events add to the plug-in's declared counters.
    pub(crate) counters: Vec<u64>,
}

// === impl Finished ===

impl Finished {
    /// A batch that consists of one event, which becomes a dead letter.
    pub(crate) fn dead_lettered(source: Source, event: Event, reason: DeadLetterReason) -> Self {
        Self {
            source,
            events: vec![(event, EventOutcome::DeadLettered(reason))],
            outputs: Vec::new(),
            counters: Vec::new(),
        }
    }

    /// Bytes that the outputs occupy in memory, approximately.
    pub(crate) fn bytes(&self) -> usize {
        self.outputs.iter().map(Output::size).sum()
    }

    /// The offset at which the partition continues.
    pub(crate) fn next_offset(&self) -> i64 {
        let (last, _) = self.events.last().expect("a finished batch has an event");
        last.record.offset + 1
    }
}
