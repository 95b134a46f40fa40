//! Pauses the step when its plug-in fails so often that dead-lettering one event after the other
//! would be wrong.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use formline_core::retry::Backoff;

/// The failures of the last minute, and the pauses that they caused.
#[derive(Debug)]
pub(super) struct CircuitBreaker {
    failures: VecDeque<Instant>,
    backoff: Backoff,
    last_pause: Option<Instant>,
}

/// Failures within `WINDOW` that pause the step.
const LIMIT: usize = 20;
const WINDOW: Duration = Duration::from_secs(60);

/// The shortest and the longest pause of a step that keeps failing.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);

// === impl CircuitBreaker ===

impl CircuitBreaker {
    pub(super) fn new() -> Self {
        Self {
            failures: VecDeque::new(),
            backoff: Backoff::new(FIRST, LONGEST),
            last_pause: None,
        }
    }

    /// Records a failure. At the limit it returns how long the step should pause, and restarts the
    /// count.
    pub(super) fn record_failure(&mut self, now: Instant) -> Option<Duration> {
        self.failures.push_back(now);
        while self
            .failures
            .front()
            .is_some_and(|first| now.duration_since(*first) > WINDOW)
        {
            self.failures.pop_front();
        }
        (self.failures.len() >= LIMIT).then(|| self.open(now))
    }

    /// Returns how long to pause now. Each pause is longer than the previous one, unless the step
    /// ran for ten windows in between.
    pub(super) fn open(&mut self, now: Instant) -> Duration {
        self.failures.clear();
        if self
            .last_pause
            .is_some_and(|last| now.duration_since(last) > 10 * WINDOW)
        {
            self.backoff.reset();
        }
        self.last_pause = Some(now);
        self.backoff.delay()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_failures_within_a_minute_pause_the_step_and_longer_each_time() {
        let (mut breaker, start) = (CircuitBreaker::new(), Instant::now());
        for second in 0..100 {
            let now = start + second * WINDOW / 10;
            assert_eq!(breaker.record_failure(now), None, "ten per minute");
        }
        let burst = start + 100 * WINDOW;
        let mut pauses = (0..10 * LIMIT).filter_map(|_| breaker.record_failure(burst));
        let (first, last) = (pauses.next(), pauses.last());
        assert!(
            first.is_some() && last > first.map(|pause| pause * 4),
            "{first:?} {last:?}"
        );
        let later = burst + 100 * WINDOW;
        let after_success = (0..LIMIT).find_map(|_| breaker.record_failure(later));
        assert!(after_success <= Some(FIRST), "{after_success:?}");
    }
}
