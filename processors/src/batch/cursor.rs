//! The cursor over a batch. Each event is a savepoint: its effects are kept or rolled back
//! together.

use std::time::{Duration, Instant};

use formline_plugin_contract::{self as contract, EventBudget, LIMITS, Refusal};

use super::{
    event::{Event, EventOutcome, Source},
    finished::Finished,
    output::Output,
};
use crate::state::{Savepoint, Stores};

/// A batch and its results so far.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) source: Source,
    events: Vec<Event>,
    /// Outcomes of the completed events, in order.
    outcomes: Vec<EventOutcome>,
    outputs: Vec<Output>,
    outputs_bytes: usize,
    /// What the accepted events add to the plug-in's declared counters.
    counters: Vec<u64>,
    current: Option<Current>,
    retry: Option<Duration>,
    limits: BatchLimits,
    end: Instant,
    is_late: bool,
}

/// Bounds of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    /// Time for the whole batch. Beyond it the batch ends early, and the rest follows in the next
    /// one.
    pub(crate) batch: Duration,
    /// Bounds of one event.
    pub(crate) event: contract::Limits,
    /// Bytes of all outputs, which are held in memory until their transaction. Beyond it the batch
    /// ends early.
    batch_bytes: usize,
}

/// Why the batch does not accept a record or an entry from the plug-in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BatchError {
    /// There is no current event to which it could belong.
    NoEvent,
    TooLarge,
    Quota,
}

/// The current event, and what is needed to roll it back.
#[derive(Debug)]
struct Current {
    savepoint: Savepoint,
    outputs: usize,
    budget: EventBudget,
    counters: Vec<(usize, u64)>,
    ids: u32,
}

// === impl Batch ===

impl Batch {
    pub(crate) fn new(source: Source, events: Vec<Event>, limits: BatchLimits) -> Self {
        Self {
            source,
            outcomes: Vec::with_capacity(events.len()),
            events,
            outputs: Vec::new(),
            outputs_bytes: 0,
            counters: Vec::new(),
            current: None,
            retry: None,
            limits,
            end: Instant::now() + limits.batch,
            is_late: false,
        }
    }

    /// The offset of the first event, and the number of events.
    pub(crate) fn extent(&self) -> (i64, usize) {
        (
            self.events.first().map_or(0, |event| event.record.offset),
            self.events.len(),
        )
    }

    /// Records whether the batch's time is over. Called at each tick only: reading a clock for each
    /// event would cost as much as processing a small one.
    pub(crate) fn check_time(&mut self, now: Instant) {
        self.is_late = now >= self.end;
    }

    /// Accepts the current event and returns the next one. None at the end of the batch, or when
    /// one of its bounds is reached.
    pub(crate) fn next(&mut self, stores: &mut Stores) -> Option<&Event> {
        self.complete(EventOutcome::Accepted);
        while self
            .events
            .get(self.outcomes.len())
            .is_some_and(|event| event.is_duplicate)
        {
            self.outcomes.push(EventOutcome::Duplicate);
        }
        let is_over = self.retry.is_some()
            || self.outputs_bytes >= self.limits.batch_bytes
            || (stores.is_heavy() && !self.outcomes.is_empty())
            // The first event always gets its time, or a batch could never make progress.
            || (!self.outcomes.is_empty() && self.is_late);
        if is_over {
            return None;
        }
        let event = self.events.get(self.outcomes.len())?;
        stores.begin_event(&event.record);
        self.current = Some(Current {
            savepoint: stores.savepoint(),
            outputs: self.outputs.len(),
            budget: EventBudget::default(),
            counters: Vec::new(),
            ids: 0,
        });
        Some(event)
    }

    /// The current event.
    pub(crate) fn event(&self) -> Option<&Event> {
        self.current.as_ref()?;
        self.events.get(self.outcomes.len())
    }

    /// Rolls back the current event, and completes it as skipped or dead-lettered. False if there
    /// is none.
    pub(crate) fn reject(&mut self, outcome: EventOutcome, stores: &mut Stores) -> bool {
        let is_current = self.roll_back(stores);
        self.complete(outcome);
        is_current
    }

    /// Rolls back the current event, and ends the batch before it. False if there is none.
    pub(crate) fn retry_later(&mut self, after: Duration, stores: &mut Stores) -> bool {
        let is_current = self.roll_back(stores);
        if is_current {
            (self.current, self.retry) = (None, Some(after));
        }
        is_current
    }

    /// Accepts a record for one of the plug-in's outputs, and sets its `event` and `n`.
    pub(crate) fn send(&mut self, mut output: Output) -> Result<(), BatchError> {
        let bytes = output.bytes();
        self.limits.event.check_record(bytes)?;
        let current = self.current.as_mut().ok_or(BatchError::NoEvent)?;
        current.budget.send(bytes, &self.limits.event)?;
        let mut sent = self.outputs[current.outputs..].iter().rev();
        let last = sent.find(|sent| sent.port == output.port);
        (output.event, output.n) = (self.outcomes.len(), last.map_or(0, |last| last.n + 1));
        self.outputs_bytes += output.size();
        self.outputs.push(output);
        Ok(())
    }

    /// Counts bytes that the current event stores.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), BatchError> {
        let current = self.current.as_mut().ok_or(BatchError::NoEvent)?;
        Ok(current.budget.charge(bytes, &self.limits.event)?)
    }

    /// Adds to a declared counter, provided that the event is accepted.
    pub(crate) fn count(&mut self, counter: usize, delta: u64) {
        let Some(current) = &mut self.current else {
            return;
        };
        match current
            .counters
            .iter_mut()
            .find(|(index, _)| *index == counter)
        {
            Some((_, sum)) => *sum = sum.saturating_add(delta),
            None => current.counters.push((counter, delta)),
        }
    }

    /// The number of the next derived id of the current event; none without a current event.
    pub(crate) fn next_id(&mut self) -> Option<u32> {
        let current = self.current.as_mut()?;
        current.ids += 1;
        Some(current.ids - 1)
    }

    /// Whether the plug-in has received an event that it has neither accepted nor rejected.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.current.is_some()
    }

    /// Whether at least one event was completed or deferred.
    pub(crate) fn has_progress(&self) -> bool {
        !self.outcomes.is_empty() || self.retry.is_some()
    }

    /// Ends a successful batch. Returns its results, the remaining events, and the delay before
    /// they are processed.
    pub(crate) fn finish(mut self) -> (Option<Finished>, Vec<Event>, Option<Duration>) {
        let mut left = self.events.split_off(self.outcomes.len());
        if let (Some(_), Some(event)) = (self.retry, left.first_mut()) {
            event.attempts += 1;
        }
        let events: Vec<_> = self.events.into_iter().zip(self.outcomes).collect();
        let finished = Finished {
            source: self.source,
            events,
            outputs: self.outputs,
            counters: self.counters,
        };
        (
            (!finished.events.is_empty()).then_some(finished),
            left,
            self.retry,
        )
    }

    /// Ends a batch whose call has failed. Returns all its events, and the index of the one that
    /// the plug-in received last.
    pub(crate) fn abort(mut self) -> (Vec<Event>, Option<usize>) {
        let given = self.outcomes.len() + usize::from(self.current.is_some());
        for event in &mut self.events[..given] {
            event.attempts += 1;
        }
        (self.events, given.checked_sub(1))
    }

    fn complete(&mut self, outcome: EventOutcome) {
        let Some(current) = self.current.take() else {
            return;
        };
        for (counter, delta) in current.counters {
            if self.counters.len() <= counter {
                self.counters.resize(counter + 1, 0);
            }
            self.counters[counter] = self.counters[counter].saturating_add(delta);
        }
        self.outcomes.push(outcome);
    }

    fn roll_back(&mut self, stores: &mut Stores) -> bool {
        let Some(current) = &mut self.current else {
            return false;
        };
        stores.roll_back(current.savepoint);
        current.counters.clear();
        let dropped = self.outputs.drain(current.outputs..);
        self.outputs_bytes -= dropped.map(|output| output.size()).sum::<usize>();
        true
    }
}

// === impl BatchLimits ===

impl BatchLimits {
    /// The bounds of a step's batches.
    pub(crate) fn new(batch: Duration) -> Self {
        Self {
            batch,
            event: LIMITS,
            batch_bytes: 32 << 20,
        }
    }
}

// === impl BatchError ===

impl From<Refusal> for BatchError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooLarge => Self::TooLarge,
            Refusal::QuotaExceeded => Self::Quota,
        }
    }
}
