//! The figures of the sheets sink at Google's quota.

use std::fmt;

use serde::Serialize;

use super::{Aim, Cost};
use crate::table::Table;

/// One sink and one tab.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct SheetsReport {
    /// That lay ready.
    pub(in crate::bench) rows: u32,
    /// From the start of the sink until the last row was written.
    pub(in crate::bench) seconds: f64,
    pub(in crate::bench) rows_per_minute: f64,
    /// Of all that lay ready, what is not in the sheet.
    pub(in crate::bench) lost: usize,
    /// More than once in the sheet.
    pub(in crate::bench) doubled: usize,
    /// Rows that stand behind one that was submitted later.
    pub(in crate::bench) disordered: usize,
    pub(in crate::bench) cpu_us: Cost,
}

/// Rows a minute.
const AIM: f64 = 20_000.0;
/// Google counts by the minute. A shorter time says nothing: the writes of a whole minute may be made at once.
const SHORTEST: f64 = 60.0;

// === impl SheetsReport ===

impl SheetsReport {
    /// What was lost, doubled or out of order, in words.
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

    pub(super) fn aims(&self) -> Option<Aim> {
        let what = "sheets: rows a minute at the quota of 60 writes".to_owned();
        (self.seconds >= SHORTEST).then(|| Aim::at_least(what, AIM, self.rows_per_minute))
    }
}

impl fmt::Display for SheetsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "sheets: {} rows lie ready; the emulator grants 60 writes a minute; us: CPU per row",
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
    use super::{super::tests::cost, *};

    pub(in super::super) fn report(seconds: f64, disordered: usize) -> SheetsReport {
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
    fn less_than_a_minute_is_held_against_no_aim() {
        assert!(report(60.0, 0).aims().is_some_and(|aim| aim.is_met()));
        assert!(report(59.0, 0).aims().is_none());
    }

    #[test]
    fn a_row_in_the_wrong_place_breaks_the_promise() {
        assert_eq!(report(60.0, 0).broken(), None);
        let words = report(60.0, 2).broken();
        let words = words.expect("two rows are in the wrong place");
        assert_eq!(words, "sheets: 0 lost, 0 doubled, 2 out of order");
        assert!(report(60.0, 2).to_string().contains("30000"));
    }
}
