//! The figures of the part `saturated`.

use std::fmt;

use serde::Serialize;

use super::{
    aim::Aim,
    figures::{median, ratio},
    measurement::{self, Measurement},
};

/// The figures of all rounds; each round has two rows, in the order in which they were measured.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct SaturatedReport {
    /// Events in the topic at the start of each round.
    pub(in crate::bench) events: u32,
    /// Maximum number of records in a transaction on both sides.
    pub(in crate::bench) batch: usize,
    pub(in crate::bench) rows: Vec<Measurement>,
}

/// Minimum ratio of Formline's rate to that of the bare loop.
const AIM: f64 = 0.5;

// === impl SaturatedReport ===

impl SaturatedReport {
    /// Lost and duplicated events as text.
    pub(super) fn broken(&self) -> Vec<String> {
        measurement::broken("saturated", &self.rows)
    }

    /// The aim with its figure.
    pub(super) fn aims(&self) -> Vec<Aim> {
        let what = "saturated: events/s, formline / bare, median of rounds".to_owned();
        vec![Aim::at_least(
            what,
            AIM,
            median(measurement::rates(&self.rows)),
        )]
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
            "saturated: {events} events in the topic at the start; transactions of at most {batch} records"
        )?;
        writeln!(
            f,
            "  one step with one output and a plug-in that forwards events; us: CPU per event"
        )?;
        write!(
            f,
            "{}",
            measurement::table(rows, "events", ["steps", "kafka"])
        )?;
        for (formline, bare) in measurement::pairs(rows) {
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
    use super::{super::measurement::tests::measurements, *};

    pub(in crate::bench::report) fn report(lost: usize, doubled: usize) -> SaturatedReport {
        SaturatedReport {
            events: 100,
            batch: 10,
            rows: measurements("steps", lost, doubled),
        }
    }

    #[test]
    fn the_ratios_of_each_round_are_reported_and_their_median_is_compared_with_the_aim() {
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
