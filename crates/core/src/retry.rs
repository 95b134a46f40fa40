//! How long to wait before a retry.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// Exponential back-off with jitter.
///
/// The delay doubles from `first` to `longest`. Each delay is shortened by a random factor of up to
/// one half, so that the clients of a service that recovers do not all retry at the same moment.
///
/// ```
/// use std::time::Duration;
///
/// use formline_core::retry::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
/// assert!(backoff.delay() <= Duration::from_millis(100));
/// assert!(backoff.delay() <= Duration::from_millis(200));
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// Creates a back-off with delays from `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// Returns the delay before the next retry, and doubles the following one.
    pub fn delay(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.longest);
        // Each `RandomState` has new random keys, which is sufficient for jitter without another
        // dependency.
        let random = (RandomState::new().hash_one(()) >> 40) as f64 / (1u64 << 24) as f64;
        full.mul_f64(1.0 - random / 2.0)
    }

    /// Resets the delay to `first`, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_and_reset_after_a_success() {
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
