//! How often a plug-in fails, and when a new one is worse than the former one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::batch::EventOutcome;

/// The results of a plug-in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Score {
    /// Completed events.
    pub(crate) events: u64,
    /// Rejected events and failed calls.
    pub(crate) failed: u64,
}

/// The score of the plug-in that a step runs, updated by all its workers.
#[derive(Debug, Default)]
pub(crate) struct SharedScore {
    events: AtomicU64,
    failed: AtomicU64,
    /// Whether the plug-in has begun to migrate entries.
    has_migrated: AtomicBool,
}

/// Failures below which a plug-in is never judged to be worse: one unusual submission must not
/// decide.
pub(crate) const MIN_FAILURES: u64 = 3;

/// Events from which on the former plug-in's score is a basis for comparison.
const MIN_EVENTS: u64 = 10;

// === impl Score ===

impl Score {
    /// The score of one completed event.
    pub(crate) fn of(outcome: &EventOutcome) -> Self {
        Self {
            events: 1,
            failed: u64::from(matches!(outcome, EventOutcome::DeadLettered(_))),
        }
    }

    /// The score of failed calls that completed no event.
    pub(crate) fn failures_only(failed: u64) -> Self {
        Self { events: 0, failed }
    }

    /// Whether this plug-in fails far more often than another one: more than twice as often, and
    /// for at least one more event in ten.
    pub(crate) fn is_far_worse_than(self, other: Self) -> bool {
        self.failed >= MIN_FAILURES
            && other.events >= MIN_EVENTS
            && self.failures() > 2.0 * other.failures() + 0.1
    }

    /// Failures per event. A plug-in that only traps has completed none.
    #[allow(clippy::cast_precision_loss)] // a ratio needs no more precision
    fn failures(self) -> f64 {
        self.failed as f64 / self.events.max(1) as f64
    }
}

impl std::ops::Add for Score {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            failed: self.failed + other.failed,
        }
    }
}

// === impl SharedScore ===

impl SharedScore {
    pub(crate) fn add(&self, score: Score) {
        self.events.fetch_add(score.events, Ordering::Relaxed);
        self.failed.fetch_add(score.failed, Ordering::Relaxed);
    }

    pub(crate) fn score(&self) -> Score {
        Score {
            events: self.events.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn note_migration(&self) {
        self.has_migrated.store(true, Ordering::Relaxed);
    }

    /// Whether the plug-in has neither completed an event nor migrated entries, as far as is known.
    pub(crate) fn is_untouched(&self) -> bool {
        self.score().events == 0 && !self.has_migrated.load(Ordering::Relaxed)
    }

    /// Resets the score, and returns the previous one. The few results of batches that are still in
    /// progress count for the next plug-in.
    pub(crate) fn reset(&self) -> Score {
        self.has_migrated.store(false, Ordering::Relaxed);
        Score {
            events: self.events.swap(0, Ordering::Relaxed),
            failed: self.failed.swap(0, Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(failed: u64, events: u64) -> Score {
        Score { events, failed }
    }

    #[test]
    fn only_a_clear_difference_is_worse() {
        let usual = score(2, 100);
        assert!(score(20, 100).is_far_worse_than(usual));
        assert!(
            score(3, 0).is_far_worse_than(usual),
            "it traps for every event"
        );
        for (new, old) in [
            (score(2, 4), usual),
            (score(12, 100), usual),
            (score(60, 100), score(40, 100)),
            (score(9, 9), score(0, 9)),
        ] {
            assert!(!new.is_far_worse_than(old), "{new:?} compared with {old:?}");
        }
    }
}
