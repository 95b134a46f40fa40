//! How often this process may call Google: one budget for all sinks, since Google counts per account.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

/// A token bucket. Who waits first is served first.
#[derive(Debug)]
pub(crate) struct Quota(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// Calls that may follow each other at once after a quiet time, and calls a minute. Together they stay within the 60
/// that Google grants in any one minute, for writes and for reads each.
const BURST: f64 = 10.0;
const PER_MINUTE: f64 = 50.0;

// === impl Quota ===

impl Quota {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Bucket {
            tokens: BURST,
            filled: Instant::now(),
        }))
    }

    /// Waits for leave to make one call.
    pub(crate) async fn take(&self) {
        // Tokio's mutex is fair, and it is held while waiting: that is the queue.
        let mut bucket = self.0.lock().await;
        while let Some(wait) = bucket.take(Instant::now()) {
            tokio::time::sleep(wait).await;
        }
    }

    /// Google has said that there were too many calls: nobody calls for so long.
    pub(crate) async fn pause(&self, wait: Duration) {
        let mut bucket = self.0.lock().await;
        let from_now = Instant::now() + wait;
        bucket.filled = bucket.filled.max(from_now);
        bucket.tokens = 1.0;
    }
}

// === impl Bucket ===

impl Bucket {
    /// How long to wait, if there is no token now.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        if now < self.filled {
            return Some(self.filled - now);
        }
        let grown = (now - self.filled).as_secs_f64() * PER_MINUTE / 60.0;
        self.tokens = (self.tokens + grown).min(BURST);
        self.filled = now;
        if self.tokens < 1.0 {
            return Some(Duration::from_secs_f64(
                (1.0 - self.tokens) * 60.0 / PER_MINUTE,
            ));
        }
        self.tokens -= 1.0;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls that are made in a minute when there is always one to make.
    fn calls(bucket: &mut Bucket, begin: Instant) -> u32 {
        let (mut now, mut calls) = (begin, 0);
        while now - begin < Duration::from_secs(60) {
            match bucket.take(now) {
                None => calls += 1,
                // Sleeping is never shorter than asked.
                Some(wait) => now += wait + Duration::from_millis(1),
            }
        }
        calls
    }

    #[test]
    fn no_minute_has_more_calls_than_google_grants() {
        let begin = Instant::now();
        let mut bucket = Bucket {
            tokens: BURST,
            filled: begin,
        };
        let first = calls(&mut bucket, begin);
        assert!((55..=60).contains(&first), "{first}");
        let second = calls(&mut bucket, begin + Duration::from_secs(61));
        assert!((45..=51).contains(&second), "{second}");
    }

    #[tokio::test]
    async fn after_too_many_calls_nobody_calls_until_the_pause_is_over() {
        let quota = Quota::new();
        let begin = Instant::now();
        quota.pause(Duration::from_millis(50)).await;
        quota.take().await;
        assert!(begin.elapsed() >= Duration::from_millis(50));
    }
}
