//! Events of one partition that were read and are not committed yet.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use formline_core::kafka::record::Record;

use crate::{
    batch::{Event, Source},
    plugin::Failure,
};

/// One partition of one input topic. Its events stay here until their transaction is committed, so
/// an aborted batch need not be read again.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) source: Source,
    /// The committed offset.
    pub(super) committed: i64,
    pending: VecDeque<Event>,
    bytes: usize,
    /// Whether the topic can contain a submission more than once.
    pub(super) is_form: bool,
    suspect: Option<Suspect>,
    resume_at: Option<Instant>,
    is_paused: bool,
}

/// An event for which the plug-in has failed once. The events before it are processed first, then
/// it is retried alone.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) offset: i64,
    pub(super) failure: Failure,
}

// === impl Input ===

impl Input {
    pub(super) fn new(source: Source, committed: i64, is_form: bool) -> Self {
        Self {
            source,
            committed,
            pending: VecDeque::new(),
            bytes: 0,
            is_form,
            suspect: None,
            resume_at: None,
            is_paused: false,
        }
    }

    /// Adds a record that was read.
    pub(super) fn push(&mut self, record: Record) {
        self.bytes += record.size();
        self.pending.push_back(Event::first_attempt(record));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Number and bytes of the pending records.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.pending.len(), self.bytes)
    }

    /// Whether there is an event to process now.
    pub(super) fn is_ready(&self) -> bool {
        !self.pending.is_empty() && self.resume_at.is_none()
    }

    /// The next batch: all pending events, or those before the suspect, or the suspect alone.
    pub(super) fn take(&mut self) -> Vec<Event> {
        let at_suspect = self.suspect.as_ref().and_then(|suspect| {
            self.pending
                .iter()
                .position(|event| event.record.offset == suspect.offset)
        });
        let count = at_suspect.map_or(self.pending.len(), |position| position.max(1));
        self.take_many(count)
    }

    /// The next event alone.
    pub(super) fn take_one(&mut self) -> Vec<Event> {
        self.take_many(self.pending.len().min(1))
    }

    /// The next event.
    pub(super) fn first(&self) -> Option<&Event> {
        self.pending.front()
    }

    fn take_many(&mut self, count: usize) -> Vec<Event> {
        let batch: Vec<_> = self.pending.drain(..count).collect();
        self.bytes -= batch.iter().map(|event| event.record.size()).sum::<usize>();
        batch
    }

    /// Puts events of the last batch back in front of the others.
    pub(super) fn put_back(&mut self, events: Vec<Event>) {
        self.bytes += events
            .iter()
            .map(|event| event.record.size())
            .sum::<usize>();
        for event in events.into_iter().rev() {
            self.pending.push_front(event);
        }
    }

    /// The suspect, if a batch with this first event is its second attempt.
    pub(super) fn suspect_at(&self, first: &Event) -> Option<&Suspect> {
        self.suspect
            .as_ref()
            .filter(|suspect| suspect.offset == first.record.offset)
    }

    /// Sets or clears the suspect.
    pub(super) fn set_suspect(&mut self, suspect: Option<Suspect>) {
        self.suspect = suspect;
    }

    /// Delays the events.
    pub(super) fn delay(&mut self, delay: Duration) {
        self.resume_at = Some(Instant::now() + delay);
    }

    pub(super) fn resume_at(&self) -> Option<Instant> {
        self.resume_at
    }

    /// Returns whether to pause (true) or resume (false) fetching; none if nothing changes. Events
    /// that wait, for their own delay or because the step is paused, stay in memory, so no more may
    /// be fetched.
    pub(super) fn change_pause(&mut self, now: Instant, is_step_paused: bool) -> Option<bool> {
        if self.resume_at.is_some_and(|at| at <= now) {
            self.resume_at = None;
        }
        let should_pause = is_step_paused || self.resume_at.is_some();
        let has_changed = should_pause != self.is_paused;
        self.is_paused = should_pause;
        has_changed.then_some(should_pause)
    }
}
