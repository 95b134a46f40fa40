//! One batch of one partition while a plug-in works on it: a cursor over its events, and what each of them led to.
//!
//! Each event is a savepoint. Knows nothing of WebAssembly, nor of how records are read and published.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::record::{Partition, Record};

use crate::state::{Mark, Stores};

/// A batch and its results so far.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) source: Source,
    events: Vec<Event>,
    /// What became of the events that are settled, in order.
    outcomes: Vec<Outcome>,
    outputs: Vec<Output>,
    outputs_bytes: usize,
    /// Declared counters of the plug-in: what the accepted events have added.
    counters: Vec<u64>,
    current: Option<Current>,
    retry: Option<Duration>,
    limits: Limits,
    end: Instant,
    is_late: bool,
}

/// Where the events come from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) partition: Partition,
    /// The plug-in's name for the input.
    pub(crate) port: Arc<str>,
}

/// A record on its way through the plug-in.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) record: Record,
    /// How often it was given to the plug-in before.
    pub(crate) attempts: u32,
    /// A repetition of a submission that stands before it on the partition, or a replay for another group: passed over.
    pub(crate) is_duplicate: bool,
}

/// What became of an event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Accepted,
    Skipped,
    Duplicate,
    /// To be parked as a dead letter.
    Parked(Parked),
}

/// Why an event is parked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Parked {
    /// One of few words, for metrics.
    pub(crate) kind: &'static str,
    /// The stable code of the dead letter.
    pub(crate) code: String,
    pub(crate) detail: String,
    pub(crate) attempts: u32,
}

/// A record that the plug-in has sent.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// Index of the event that it was made of.
    pub(crate) event: usize,
    /// Index of the port among the plug-in's outputs.
    pub(crate) port: usize,
    /// Which of the event's records to this port it is.
    pub(crate) n: u32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) timestamp_ms: Option<i64>,
}

/// Bounds of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Time for the whole batch; at the bound it ends early, and the rest comes with the next one.
    pub(crate) batch: Duration,
    /// Records that one event may send; at the bound `send` fails with `quota-exceeded`.
    pub(crate) outputs: usize,
    /// Bytes that one event may send and store together; the same.
    pub(crate) event_bytes: usize,
    /// Bytes of all outputs, which wait in memory for their transaction; at the bound the batch ends early.
    pub(crate) batch_bytes: usize,
}

/// Why a record is not taken from the plug-in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// There is no current event to which it could belong.
    NoEvent,
    TooLarge,
    Quota,
}

/// The event at hand, and how it was before it.
#[derive(Debug)]
struct Current {
    mark: Mark,
    outputs: usize,
    bytes: usize,
    counters: Vec<(usize, u64)>,
    ids: u32,
}

/// What is left when the plug-in is done with a batch.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) source: Source,
    /// Events that are settled, each with what became of it. At least one.
    pub(crate) settled: Vec<(Event, Outcome)>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) counters: Vec<u64>,
}

/// A record's key, value and own headers together. Kafka takes 1,000,000 bytes by default; the rest is for the headers
/// that the host writes.
const RECORD_LIMIT: usize = 960_000;

/// What an output costs besides its bytes.
const OUTPUT: usize = 128;

// === impl Batch ===

impl Batch {
    pub(crate) fn new(source: Source, events: Vec<Event>, limits: Limits) -> Self {
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

    /// Offset of the first event, and how many there are.
    pub(crate) fn extent(&self) -> (i64, usize) {
        (
            self.events.first().map_or(0, |event| event.record.offset),
            self.events.len(),
        )
    }

    /// Notes whether the batch's time is over. It is called now and then: to ask a clock with each event would cost as much
    /// as many an event.
    pub(crate) fn check_time(&mut self, now: Instant) {
        self.is_late = now >= self.end;
    }

    /// Accepts the current event and gives the next one. None at the end, or when a bound of the batch is reached.
    pub(crate) fn next(&mut self, stores: &mut Stores) -> Option<&Event> {
        self.settle(Outcome::Accepted);
        while self
            .events
            .get(self.outcomes.len())
            .is_some_and(|event| event.is_duplicate)
        {
            self.outcomes.push(Outcome::Duplicate);
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
            mark: stores.mark(),
            outputs: self.outputs.len(),
            bytes: 0,
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

    /// Takes back what the current event has done, and settles it as skipped or parked. False if there is none.
    pub(crate) fn refuse(&mut self, outcome: Outcome, stores: &mut Stores) -> bool {
        let is_current = self.roll_back(stores);
        self.settle(outcome);
        is_current
    }

    /// Takes back what the current event has done, and ends the batch before it. False if there is none.
    pub(crate) fn retry_later(&mut self, after: Duration, stores: &mut Stores) -> bool {
        let is_current = self.roll_back(stores);
        if is_current {
            (self.current, self.retry) = (None, Some(after));
        }
        is_current
    }

    /// Takes a record for one of the plug-in's outputs. `event` and `n` of it are set here.
    pub(crate) fn send(&mut self, mut output: Output) -> Result<(), Refused> {
        let headers: usize = output
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        let bytes = output.key.as_ref().map_or(0, Vec::len) + output.value.len() + headers;
        if bytes > RECORD_LIMIT {
            return Err(Refused::TooLarge);
        }
        self.charge(bytes + OUTPUT)?;
        let current = self.current.as_ref().ok_or(Refused::NoEvent)?;
        let sent = &self.outputs[current.outputs..];
        if sent.len() >= self.limits.outputs {
            return Err(Refused::Quota);
        }
        let last = sent.iter().rev().find(|sent| sent.port == output.port);
        (output.event, output.n) = (self.outcomes.len(), last.map_or(0, |last| last.n + 1));
        self.outputs_bytes += bytes + OUTPUT;
        self.outputs.push(output);
        Ok(())
    }

    /// Counts bytes that the current event sends or stores.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Refused> {
        let current = self.current.as_mut().ok_or(Refused::NoEvent)?;
        if current.bytes + bytes > self.limits.event_bytes {
            return Err(Refused::Quota);
        }
        current.bytes += bytes;
        Ok(())
    }

    /// Adds to a declared counter, if the event is accepted in the end.
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

    /// The number of the next derived id of the current event; none if there is no current event.
    pub(crate) fn next_id(&mut self) -> Option<u32> {
        let current = self.current.as_mut()?;
        current.ids += 1;
        Some(current.ids - 1)
    }

    /// Whether the plug-in has stopped in the middle of an event: neither accepted nor refused it.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.current.is_some()
    }

    /// Whether anything came of it at all.
    pub(crate) fn has_progress(&self) -> bool {
        !self.outcomes.is_empty() || self.retry.is_some()
    }

    /// Ends a batch that went well: its results, events that are left, and how long these have to wait.
    pub(crate) fn finish(mut self) -> (Option<Finished>, Vec<Event>, Option<Duration>) {
        let mut left = self.events.split_off(self.outcomes.len());
        if let (Some(_), Some(event)) = (self.retry, left.first_mut()) {
            event.attempts += 1;
        }
        let settled: Vec<_> = self.events.into_iter().zip(self.outcomes).collect();
        let finished = Finished {
            source: self.source,
            settled,
            outputs: self.outputs,
            counters: self.counters,
        };
        (
            (!finished.settled.is_empty()).then_some(finished),
            left,
            self.retry,
        )
    }

    /// Ends a batch whose call has failed: all its events, and the index of the one that the plug-in had last.
    pub(crate) fn take_back(mut self) -> (Vec<Event>, Option<usize>) {
        let given = self.outcomes.len() + usize::from(self.current.is_some());
        for event in &mut self.events[..given] {
            event.attempts += 1;
        }
        (self.events, given.checked_sub(1))
    }

    fn settle(&mut self, outcome: Outcome) {
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
        stores.roll_back(current.mark);
        current.counters.clear();
        let taken_back = self.outputs.drain(current.outputs..);
        self.outputs_bytes -= taken_back.map(|output| output.size()).sum::<usize>();
        true
    }
}

// === impl Event ===

impl Event {
    /// A record that no plug-in has seen.
    pub(crate) fn first_try(record: Record) -> Self {
        Self {
            record,
            attempts: 0,
            is_duplicate: false,
        }
    }
}

// === impl Output ===

impl Output {
    fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.key.as_ref().map_or(0, Vec::len) + self.value.len() + headers + OUTPUT
    }
}

// === impl Finished ===

impl Finished {
    /// An event that the step gives up, as the only one of its batch.
    pub(crate) fn parked(source: Source, event: Event, parked: Parked) -> Self {
        let settled = vec![(event, Outcome::Parked(parked))];
        Self {
            source,
            settled,
            outputs: Vec::new(),
            counters: Vec::new(),
        }
    }

    /// Roughly what its outputs have in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.outputs.iter().map(Output::size).sum()
    }

    /// The offset at which the partition goes on.
    pub(crate) fn next_offset(&self) -> i64 {
        let (last, _) = self.settled.last().expect("it has at least one event");
        last.record.offset + 1
    }
}

// === impl Limits ===

impl Limits {
    /// The bounds of a step's batches.
    pub(crate) fn new(batch: Duration) -> Self {
        Self {
            batch,
            outputs: 1000,
            event_bytes: 8 << 20,
            batch_bytes: 32 << 20,
        }
    }
}
