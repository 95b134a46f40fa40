//! Prints progress to standard error, because standard output is for the report.

use std::time::{Duration, Instant};

/// How often progress is printed; rarely enough not to affect a measurement.
const INTERVAL: Duration = Duration::from_secs(10);

/// Prints one line.
pub(crate) fn print(message: &str) {
    eprintln!("formline-loadtest: {message}");
}

/// Waits, and prints the remaining time at intervals.
pub(crate) async fn wait_until(end: Instant) {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.min(INTERVAL)).await;
        if left <= INTERVAL {
            return;
        }
        print(&format!("  {} s left", (left - INTERVAL).as_secs()));
    }
}
