//! The figures of a saturated step.

use std::fmt;

use serde::Serialize;

use super::{Aim, Cost, median, ratio};
use crate::table::Table;

/// Of each round a row for each side, in the order in which they were measured.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct SaturatedReport {
    /// That lay ready in each round.
    pub(in crate::bench) events: u32,
    /// Most records of a transaction, on both sides.
    pub(in crate::bench) batch: usize,
    pub(in crate::bench) rows: Vec<SaturatedRow>,
}

/// One side of one round.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct SaturatedRow {
    pub(in crate::bench) round: u32,
    pub(in crate::bench) side: &'static str,
    /// Without warm-up and rest.
    pub(in crate::bench) events: usize,
    pub(in crate::bench) events_per_second: f64,
    /// Of all that lay ready, what is not in the output.
    pub(in crate::bench) lost: usize,
    /// More than once in the output.
    pub(in crate::bench) doubled: usize,
    pub(in crate::bench) cpu_us: Cost,
}

/// Of the bare loop's rate.
const AIM: f64 = 0.5;

// === impl SaturatedReport ===

impl SaturatedReport {
    /// What was lost or doubled, in words.
    pub(super) fn broken(&self) -> Vec<String> {
        let rows = self.rows.iter();
        let broken = rows.filter(|row| row.lost > 0 || row.doubled > 0);
        let words = |row: &SaturatedRow| {
            let SaturatedRow {
                round,
                side,
                lost,
                doubled,
                ..
            } = row;
            format!("saturated, round {round}, {side}: {lost} lost, {doubled} doubled")
        };
        broken.map(words).collect()
    }

    pub(super) fn aims(&self) -> Vec<Aim> {
        let rates = self.pairs();
        let rates =
            rates.map(|(formline, bare)| formline.events_per_second / bare.events_per_second);
        let what = "saturated: events/s, formline / bare, median of rounds".to_owned();
        vec![Aim::at_least(what, AIM, median(rates.collect()))]
    }

    /// Formline's row and the bare one of each round.
    fn pairs(&self) -> impl Iterator<Item = (&SaturatedRow, &SaturatedRow)> {
        self.rows.chunks_exact(2).map(|pair| match pair[0].side {
            "formline" => (&pair[0], &pair[1]),
            _ => (&pair[1], &pair[0]),
        })
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "round side",
            "events/s",
            "events",
            "lost",
            "doubled",
            "steps us",
            "kafka us",
        ]);
        for row in &self.rows {
            let counts = [row.events, row.lost, row.doubled].map(|count| count.to_string());
            let first = [
                format!("{} {}", row.round, row.side),
                format!("{:.0}", row.events_per_second),
            ];
            let cost = row.cpu_us.cells(["steps", "kafka"]);
            table.row(first.into_iter().chain(counts).chain(cost));
        }
        table
    }
}

impl fmt::Display for SaturatedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, batch, .. } = self;
        writeln!(
            f,
            "saturated: {events} events lie ready; transactions of at most {batch} records"
        )?;
        writeln!(
            f,
            "  one step with one output, a plug-in that sends on; us: CPU per event"
        )?;
        write!(f, "{}", self.table())?;
        for (formline, bare) in self.pairs() {
            let round = formline.round;
            let rate = ratio(formline.events_per_second, bare.events_per_second);
            let cpu = ratio(formline.cpu_us.of("steps"), bare.cpu_us.of("steps"));
            writeln!(
                f,
                "  round {round}, formline / bare: events/s {rate}, CPU of the step {cpu}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::tests::*, *};

    /// Two rounds: in the second the bare side came first.
    pub(in super::super) fn report(lost: usize, doubled: usize) -> SaturatedReport {
        let row = |round, side, events_per_second, lost, doubled| SaturatedRow {
            round,
            side,
            events: 80,
            events_per_second,
            lost,
            doubled,
            cpu_us: cost("steps"),
        };
        let rows = vec![
            row(1, "formline", 40.0, lost, doubled),
            row(1, "bare", 100.0, 0, 0),
            row(2, "bare", 100.0, 0, 0),
            row(2, "formline", 60.0, 0, 0),
        ];
        SaturatedReport {
            events: 100,
            batch: 10,
            rows,
        }
    }

    #[test]
    fn what_was_lost_or_doubled_is_named() {
        assert_eq!(report(0, 0).broken(), [""; 0]);
        assert_eq!(
            report(1, 2).broken(),
            ["saturated, round 1, formline: 1 lost, 2 doubled"]
        );
    }

    #[test]
    fn each_round_has_its_ratios_whoever_came_first_and_their_median_is_held_against_the_aim() {
        let report = report(0, 0);
        let text = report.to_string();
        for line in [
            "round 1, formline / bare: events/s 0.40, CPU of the step 1.00",
            "round 2, formline / bare: events/s 0.60, CPU of the step 1.00",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(report.aims().iter().all(Aim::is_met));
    }
}
