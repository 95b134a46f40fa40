//! Latencies, recorded in microseconds and reported as percentiles in milliseconds.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// A histogram of latencies with three significant digits. Latencies above an hour count as an
/// hour.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// The percentiles of latencies in milliseconds; all are 0 if there are no latencies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// The longest latency that is recorded, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;

// === impl Latencies ===

impl Latencies {
    /// An empty histogram.
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("1 < 2 * 1 <= LONGEST_US, 3 <= 5"))
    }

    /// Adds a latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US));
    }

    /// The percentiles of all recorded latencies.
    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |quantile| milliseconds(self.0.value_at_quantile(quantile));
        Percentiles {
            count: self.0.len(),
            p50_ms: at(0.50),
            p90_ms: at(0.90),
            p99_ms: at(0.99),
            max_ms: milliseconds(self.0.max()),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an hour in microseconds has 32 bits"
)]
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_computed_from_the_recorded_latencies() {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let seen = latencies.percentiles();
        assert_eq!(seen.count, 1000);
        // Three significant digits mean an error of at most 0.1 %.
        let pairs = [
            (seen.p50_ms, 500.0),
            (seen.p90_ms, 900.0),
            (seen.p99_ms, 990.0),
            (seen.max_ms, 1000.0),
        ];
        for (seen, expected) in pairs {
            assert!(
                (seen - expected).abs() <= expected / 1000.0,
                "{seen} is not {expected}"
            );
        }
    }

    #[test]
    fn empty_and_saturated_histograms_are_reported() {
        assert!(Latencies::new().percentiles().max_ms == 0.0);
        let mut latencies = Latencies::new();
        latencies.record(Duration::MAX);
        let hour = 3_600_000.0;
        let seen = latencies.percentiles().p50_ms;
        assert!((seen - hour).abs() <= hour / 1000.0, "{seen}");
    }
}
