//! The figures of a saturated step.

use std::fmt;

use serde::Serialize;

use super::{
    Aim, median, ratio,
    turn::{self, Turn},
};

/// Of each round a turn of each side, in the order in which they were measured.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct SaturatedReport {
    /// That lay ready in each round.
    pub(in crate::bench) events: u32,
    /// Most records of a transaction, on both sides.
    pub(in crate::bench) batch: usize,
    pub(in crate::bench) rows: Vec<Turn>,
}

/// Of the bare loop's rate.
const AIM: f64 = 0.5;

// === impl SaturatedReport ===

impl SaturatedReport {
    /// What was lost or doubled, in words.
    pub(super) fn broken(&self) -> Vec<String> {
        turn::broken("saturated", &self.rows)
    }

    pub(super) fn aims(&self) -> Vec<Aim> {
        let what = "saturated: events/s, formline / bare, median of rounds".to_owned();
        vec![Aim::at_least(what, AIM, median(turn::rates(&self.rows)))]
    }
}

impl fmt::Display for SaturatedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events,
            batch,
            rows,
        } = self;
        writeln!(
            f,
            "saturated: {events} events lie ready; transactions of at most {batch} records"
        )?;
        writeln!(
            f,
            "  one step with one output, a plug-in that sends on; us: CPU per event"
        )?;
        write!(f, "{}", turn::table(rows, "events", ["steps", "kafka"]))?;
        for (formline, bare) in turn::pairs(rows) {
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
    use super::{super::turn::tests::turns, *};

    pub(in super::super) fn report(lost: usize, doubled: usize) -> SaturatedReport {
        SaturatedReport {
            events: 100,
            batch: 10,
            rows: turns("steps", lost, doubled),
        }
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
