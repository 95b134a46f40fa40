//! Rates, medians, ratios and CPU costs.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::latency::Percentiles;

/// CPU time per accepted submission or per record in microseconds, by process.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(in crate::bench) struct CpuCost(BTreeMap<&'static str, f64>);

/// The rate of `count` events within `time`.
pub(in crate::bench) fn per_second(count: usize, time: Duration) -> f64 {
    float(count) / time.as_secs_f64()
}

/// The median, which is not affected by a few disturbed figures; NaN if there are none.
pub(in crate::bench) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.get(middle) {
        Some(upper) if figures.len().is_multiple_of(2) => {
            f64::midpoint(figures[middle - 1], *upper)
        }
        Some(only) => *only,
        None => f64::NAN,
    }
}

/// A count as a floating-point number.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(in crate::bench) fn float(count: usize) -> f64 {
    count as f64
}

/// The ratio of two figures, for the report.
pub(super) fn ratio(formline: f64, bare: f64) -> String {
    format!("{:.2}", formline / bare)
}

/// The cells with p50, p90, p99 and the maximum.
pub(super) fn latency_cells(latency: &Percentiles) -> [String; 4] {
    let Percentiles {
        p50_ms,
        p90_ms,
        p99_ms,
        max_ms,
        ..
    } = latency;
    [p50_ms, p90_ms, p99_ms, max_ms].map(|ms| format!("{ms:.1}"))
}

// === impl CpuCost ===

impl CpuCost {
    /// Divides the CPU time that was spent by the number of accepted submissions.
    pub(in crate::bench) fn per_submission(
        spent: BTreeMap<&'static str, Duration>,
        accepted: usize,
    ) -> Self {
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / float(accepted);
        Self(
            spent
                .into_iter()
                .map(|(name, spent)| (name, each(spent)))
                .collect(),
        )
    }

    /// The cost of one process; NaN if it was not measured.
    pub(super) fn of(&self, process: &str) -> f64 {
        self.0.get(process).copied().unwrap_or(f64::NAN)
    }

    /// The cells with the costs of these processes; `-` if a process was not measured.
    pub(super) fn cells<const N: usize>(&self, processes: [&str; N]) -> [String; N] {
        processes.map(|process| match self.0.get(process) {
            Some(us) => format!("{us:.0}"),
            None => "-".to_owned(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::bench::report) const LATENCY: Percentiles = Percentiles {
        count: 10,
        p50_ms: 2.0,
        p90_ms: 3.0,
        p99_ms: 4.0,
        max_ms: 5.0,
    };

    pub(in crate::bench::report) fn cost(process: &'static str) -> CpuCost {
        CpuCost([(process, 8.0)].into())
    }

    #[test]
    fn cpu_time_is_divided_and_a_missing_process_is_a_dash() {
        let cost = CpuCost::per_submission([("ingest", Duration::from_secs(2))].into(), 100_000);
        assert_eq!(cost.cells(["ingest", "kafka"]), ["20", "-"]);
        assert_eq!(ratio(cost.of("ingest"), 80.0), "0.25");
    }

    #[test]
    fn the_median_is_the_middle_figure() {
        assert_eq!(format!("{:?}", median(vec![9.0, 1.0, 2.0])), "2.0");
        assert_eq!(format!("{:?}", median(vec![4.0, 1.0])), "2.5");
        assert!(median(Vec::new()).is_nan());
    }
}
