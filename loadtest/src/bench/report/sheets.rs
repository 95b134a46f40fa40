//! The figures of the part `sheets`.

use std::fmt;

use serde::Serialize;

use super::{aim::Aim, figures::CpuCost};
use crate::table::Table;

/// The figures of one sink that writes to one tab.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct SheetsReport {
    /// Rows in the topic at the start.
    pub(in crate::bench) rows: u32,
    /// From the start of the sink to the last write.
    pub(in crate::bench) seconds: f64,
    pub(in crate::bench) rows_per_minute: f64,
    /// Rows that are not in the sheet.
    pub(in crate::bench) lost: usize,
    /// Rows that are in the sheet more than once.
    pub(in crate::bench) doubled: usize,
    /// Rows below a row that was submitted later.
    pub(in crate::bench) disordered: usize,
    pub(in crate::bench) cpu_us: CpuCost,
}

/// Minimum number of rows per minute.
const AIM: f64 = 20_000.0;
/// Minimum time in seconds for the aim. Google counts requests per minute, so all writes of a
/// minute may be made at once, and the rate over a shorter time is meaningless.
const MIN_SECONDS: f64 = 60.0;

// === impl SheetsReport ===

impl SheetsReport {
    /// Lost, duplicated and disordered rows as text.
    pub(super) fn broken(&self) -> Option<String> {
        let Self {
            lost,
            doubled,
            disordered,
            ..
        } = self;
        (lost + doubled + disordered > 0)
            .then(|| format!("sheets: {lost} lost, {doubled} doubled, {disordered} out of order"))
    }

    /// The aim with its figure, if the time is long enough.
    pub(super) fn aims(&self) -> Option<Aim> {
        let what = "sheets: rows per minute at the quota of 60 writes".to_owned();
        (self.seconds >= MIN_SECONDS).then(|| Aim::at_least(what, AIM, self.rows_per_minute))
    }
}

impl fmt::Display for SheetsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "sheets: {} rows in the topic at the start; a quota of 60 writes per minute; us: CPU per row",
            self.rows
        )?;
        let titles = ["rows/min", "seconds", "lost", "doubled", "disordered"];
        let costs = ["sink us", "emulator us", "kafka us"];
        let mut table = Table::new(&[&titles[..], &costs].concat());
        let rate = [self.rows_per_minute, self.seconds].map(|figure| format!("{figure:.0}"));
        let counts = [self.lost, self.doubled, self.disordered].map(|count| count.to_string());
        let cost = self.cpu_us.cells(["sink", "emulator", "kafka"]);
        table.row(rate.into_iter().chain(counts).chain(cost));
        write!(f, "{table}")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::figures::tests::cost, *};

    pub(in crate::bench::report) fn report(seconds: f64, disordered: usize) -> SheetsReport {
        SheetsReport {
            rows: 100,
            seconds,
            rows_per_minute: 30_000.0,
            lost: 0,
            doubled: 0,
            disordered,
            cpu_us: cost("sink"),
        }
    }

    #[test]
    fn a_shorter_time_has_no_aim() {
        assert!(report(60.0, 0).aims().is_some_and(|aim| aim.is_met()));
        assert!(report(59.0, 0).aims().is_none());
    }

    #[test]
    fn disordered_rows_are_violations() {
        assert_eq!(report(60.0, 0).broken(), None);
        let text = report(60.0, 2).broken();
        let text = text.expect("two rows are disordered");
        assert_eq!(text, "sheets: 0 lost, 0 doubled, 2 out of order");
        assert!(report(60.0, 2).to_string().contains("30000"));
    }
}
