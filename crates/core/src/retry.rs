//! How long to wait before the next attempt: doubling, with jitter, up to a limit.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// Waiting times that double from `first` to `longest`. Each is shortened at random by up to a half, so that many
/// clients of a service that returns do not come back at one moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// Waiting times from `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The time to wait now; the next one is twice as long.
    pub fn delay(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.longest);
        // A fresh `RandomState` has fresh keys: random enough to spread clients, without a crate for it.
        let random = (RandomState::new().hash_one(()) >> 40) as f64 / (1u64 << 24) as f64;
        full.mul_f64(1.0 - random / 2.0)
    }

    /// Begins again with the shortest time, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_again_after_a_success() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, longest);
        for full in [100, 200, 400, 800, 1000, 1000].map(Duration::from_millis) {
            let delay = backoff.delay();
            assert!(full / 2 <= delay && delay <= full, "{delay:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.delay() <= first);
    }
}
