//! When a plug-in fails so often that giving up one event after the other would be the wrong answer.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use formline_core::retry::Backoff;

/// The failures of the last minute.
#[derive(Debug)]
pub(super) struct Alarm {
    failures: VecDeque<Instant>,
    backoff: Backoff,
    last_pause: Option<Instant>,
}

/// So many failures within `WINDOW` pause the step.
const LIMIT: usize = 20;
const WINDOW: Duration = Duration::from_secs(60);

/// The pauses of a step that fails again and again.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);

// === impl Alarm ===

impl Alarm {
    pub(super) fn new() -> Self {
        Self {
            failures: VecDeque::new(),
            backoff: Backoff::new(FIRST, LONGEST),
            last_pause: None,
        }
    }

    /// Notes a failure. At the limit it says how long the step should pause, and counts anew.
    pub(super) fn note(&mut self, now: Instant) -> Option<Duration> {
        self.failures.push_back(now);
        while self
            .failures
            .front()
            .is_some_and(|first| now.duration_since(*first) > WINDOW)
        {
            self.failures.pop_front();
        }
        (self.failures.len() >= LIMIT).then(|| self.pause(now))
    }

    /// How long to pause now: longer from time to time, until a pause was followed by a good while.
    pub(super) fn pause(&mut self, now: Instant) -> Duration {
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
    fn only_many_failures_in_a_minute_pause_the_step_and_longer_each_time() {
        let (mut alarm, start) = (Alarm::new(), Instant::now());
        for second in 0..100 {
            let now = start + second * WINDOW / 10;
            assert_eq!(alarm.note(now), None, "ten a minute");
        }
        let burst = start + 100 * WINDOW;
        let mut pauses = (0..10 * LIMIT).filter_map(|_| alarm.note(burst));
        let (first, last) = (pauses.next(), pauses.last());
        assert!(
            first.is_some() && last > first.map(|pause| pause * 4),
            "{first:?} {last:?}"
        );
        let later = burst + 100 * WINDOW;
        let after_a_good_while = (0..LIMIT).find_map(|_| alarm.note(later));
        assert!(after_a_good_while <= Some(FIRST), "{after_a_good_while:?}");
    }
}
