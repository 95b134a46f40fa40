//! The figures of two sides that process the same records in turn.

use serde::Serialize;

use super::figures::CpuCost;
use crate::table::Table;

/// The figures of one side in one round.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct Measurement {
    pub(in crate::bench) round: u32,
    pub(in crate::bench) side: &'static str,
    /// Events in the measured period.
    pub(in crate::bench) events: usize,
    pub(in crate::bench) events_per_second: f64,
    /// Records that are not at the destination.
    pub(in crate::bench) lost: usize,
    /// Records that are at the destination more than once.
    pub(in crate::bench) doubled: usize,
    pub(in crate::bench) cpu_us: CpuCost,
}

/// Lost and duplicated records as text.
pub(super) fn broken(part: &str, measurements: &[Measurement]) -> Vec<String> {
    let broken = measurements
        .iter()
        .filter(|one| one.lost > 0 || one.doubled > 0);
    let text = |measurement: &Measurement| {
        let Measurement {
            round,
            side,
            lost,
            doubled,
            ..
        } = measurement;
        format!("{part}, round {round}, {side}: {lost} lost, {doubled} doubled")
    };
    broken.map(text).collect()
}

/// The measurements of Formline and of the bare side, for each round.
pub(super) fn pairs(
    measurements: &[Measurement],
) -> impl Iterator<Item = (&Measurement, &Measurement)> {
    measurements.chunks_exact(2).map(|pair| match pair[0].side {
        "formline" => (&pair[0], &pair[1]),
        _ => (&pair[1], &pair[0]),
    })
}

/// The ratio of Formline's rate to the rate of the bare side, for each round.
pub(super) fn rates(measurements: &[Measurement]) -> Vec<f64> {
    let rates = pairs(measurements)
        .map(|(formline, bare)| formline.events_per_second / bare.events_per_second);
    rates.collect()
}

/// A table of all measurements with the costs of these processes; `unit` is the name of an event.
pub(super) fn table<const N: usize>(
    measurements: &[Measurement],
    unit: &str,
    processes: [&str; N],
) -> Table {
    let costs = processes.map(|process| format!("{process} us"));
    let rate = format!("{unit}/s");
    let titles = ["round side", &rate, unit, "lost", "doubled"];
    let titles: Vec<&str> = titles
        .into_iter()
        .chain(costs.iter().map(String::as_str))
        .collect();
    let mut table = Table::new(&titles);
    for row in measurements {
        let counts = [row.events, row.lost, row.doubled].map(|count| count.to_string());
        let first = [
            format!("{} {}", row.round, row.side),
            format!("{:.0}", row.events_per_second),
        ];
        let cost = row.cpu_us.cells(processes);
        table.row(first.into_iter().chain(counts).chain(cost));
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::figures::tests::cost, *};

    /// Two rounds; in the second one, the bare side was first.
    pub(in crate::bench::report) fn measurements(
        process: &'static str,
        lost: usize,
        doubled: usize,
    ) -> Vec<Measurement> {
        let one = |round, side, events_per_second, lost, doubled| Measurement {
            round,
            side,
            events: 80,
            events_per_second,
            lost,
            doubled,
            cpu_us: cost(process),
        };
        vec![
            one(1, "formline", 40.0, lost, doubled),
            one(1, "bare", 100.0, 0, 0),
            one(2, "bare", 100.0, 0, 0),
            one(2, "formline", 60.0, 0, 0),
        ]
    }

    #[test]
    fn lost_and_duplicated_records_are_reported() {
        assert_eq!(broken("saturated", &measurements("steps", 0, 0)), [""; 0]);
        assert_eq!(
            broken("saturated", &measurements("steps", 1, 2)),
            ["saturated, round 1, formline: 1 lost, 2 doubled"]
        );
    }

    #[test]
    fn a_round_is_a_pair_regardless_of_the_order() {
        assert_eq!(
            format!("{:?}", rates(&measurements("steps", 0, 0))),
            "[0.4, 0.6]"
        );
    }
}
