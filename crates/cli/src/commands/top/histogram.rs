//! A cumulative histogram of durations. The difference of two scrapes is the histogram of the time
//! between.

/// Cumulative counts by upper bound, as in Prometheus.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram(Vec<(f64, f64)>);

// === impl Histogram ===

impl Histogram {
    /// Adds to the count of a bound.
    pub(super) fn add(&mut self, bound: f64, count: f64) {
        match self
            .0
            .binary_search_by(|(known, _)| known.total_cmp(&bound))
        {
            Ok(at) => self.0[at].1 += count,
            Err(at) => self.0.insert(at, (bound, count)),
        }
    }

    /// Adds a histogram with the same bounds, of another process that works on the stage.
    pub(super) fn merge(&mut self, other: &Self) {
        for (bound, count) in &other.0 {
            self.add(*bound, *count);
        }
    }

    /// The observations since an earlier scrape. If that had more, the process has restarted, and
    /// all observations are new.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        if self.count() < earlier.count() {
            return self.clone();
        }
        let mut difference = self.clone();
        for (bound, count) in &earlier.0 {
            difference.add(*bound, -count);
        }
        difference
    }

    fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The quantile, interpolated linearly within its bucket as by `histogram_quantile` of
    /// Prometheus; the last finite bound if it is above that. None without observations.
    pub(super) fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = quantile * self.count();
        if rank <= 0.0 {
            return None;
        }
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= rank {
                let within = (rank - below) / (count - below);
                let is_last = bound.is_infinite();
                return Some(if is_last {
                    lower
                } else {
                    lower + (bound - lower) * within
                });
            }
            (lower, below) = (*bound, *count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: [f64; 4]) -> Histogram {
        let mut histogram = Histogram::default();
        // In an arbitrary order.
        for at in [2, 0, 3, 1] {
            histogram.add([0.1, 0.5, 1.0, f64::INFINITY][at], counts[at]);
        }
        histogram
    }

    #[test]
    fn a_quantile_is_interpolated_within_its_bucket() {
        // 50 up to 0.1, 40 up to 0.5, 10 up to 1.
        let hundred = histogram([50.0, 90.0, 100.0, 100.0]);
        for (quantile, expected) in [
            (0.5, 0.1),
            (0.25, 0.05),
            (0.7, 0.3),
            (0.99, 0.95),
            (1.0, 1.0),
        ] {
            let found = hundred.quantile(quantile).expect("observations");
            assert!((found - expected).abs() < 1e-9, "{quantile}: {found}");
        }
        let slow = histogram([0.0, 0.0, 1.0, 10.0]);
        assert_eq!(slow.quantile(0.99), Some(1.0), "above the last bound");
        assert_eq!(histogram([0.0; 4]).quantile(0.99), None);
        assert_eq!(Histogram::default().quantile(0.99), None);
    }

    #[test]
    fn only_observations_since_the_earlier_scrape_count() {
        let before = histogram([1000.0, 1000.0, 1000.0, 1000.0]);
        let now = histogram([1000.0, 1010.0, 1010.0, 1010.0]);
        let since = now.since(&before).quantile(0.99).expect("observations");
        assert!((since - 0.496).abs() < 1e-9, "{since}");
        assert_eq!(now.since(&now).quantile(0.99), None);
        let restarted = histogram([0.0, 4.0, 4.0, 4.0]);
        assert_eq!(restarted.since(&before), restarted);
        let mut both = before.clone();
        both.merge(&restarted);
        assert_eq!(both.since(&before), restarted);
    }
}
