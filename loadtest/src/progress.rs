//! What is going on, on standard error, so that standard output holds the figures alone.

use std::time::{Duration, Instant};

/// Often enough to see that it goes on, rarely enough to cost nothing while something is measured.
const INTERVAL: Duration = Duration::from_secs(10);

/// Says one thing.
pub(crate) fn say(what: &str) {
    eprintln!("formline-loadtest: {what}");
}

/// Waits, and says from time to time how long it still takes.
pub(crate) async fn wait_until(end: Instant) {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.min(INTERVAL)).await;
        if left <= INTERVAL {
            return;
        }
        say(&format!("  {} s left", (left - INTERVAL).as_secs()));
    }
}
