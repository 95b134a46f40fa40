//! Two sides that work off the same records in turn.

use serde::Serialize;

use super::Cost;
use crate::table::Table;

/// One side of one round.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct Turn {
    pub(in crate::bench) round: u32,
    pub(in crate::bench) side: &'static str,
    /// Without warm-up and rest.
    pub(in crate::bench) events: usize,
    pub(in crate::bench) events_per_second: f64,
    /// Of all that lay ready, what is not at the destination.
    pub(in crate::bench) lost: usize,
    /// More than once at the destination.
    pub(in crate::bench) doubled: usize,
    pub(in crate::bench) cpu_us: Cost,
}

/// What was lost or doubled, in words.
pub(super) fn broken(part: &str, turns: &[Turn]) -> Vec<String> {
    let broken = turns
        .iter()
        .filter(|turn| turn.lost > 0 || turn.doubled > 0);
    let words = |turn: &Turn| {
        let Turn {
            round,
            side,
            lost,
            doubled,
            ..
        } = turn;
        format!("{part}, round {round}, {side}: {lost} lost, {doubled} doubled")
    };
    broken.map(words).collect()
}

/// Formline's turn and the bare one of each round.
pub(super) fn pairs(turns: &[Turn]) -> impl Iterator<Item = (&Turn, &Turn)> {
    turns.chunks_exact(2).map(|pair| match pair[0].side {
        "formline" => (&pair[0], &pair[1]),
        _ => (&pair[1], &pair[0]),
    })
}

/// Formline's rate as a part of the bare one, of each round.
pub(super) fn rates(turns: &[Turn]) -> Vec<f64> {
    let rates =
        pairs(turns).map(|(formline, bare)| formline.events_per_second / bare.events_per_second);
    rates.collect()
}

/// All turns, with what these processes cost; `what` is what an event is called.
pub(super) fn table<const N: usize>(turns: &[Turn], what: &str, processes: [&str; N]) -> Table {
    let costs = processes.map(|process| format!("{process} us"));
    let rate = format!("{what}/s");
    let titles = ["round side", &rate, what, "lost", "doubled"];
    let titles: Vec<&str> = titles
        .into_iter()
        .chain(costs.iter().map(String::as_str))
        .collect();
    let mut table = Table::new(&titles);
    for turn in turns {
        let counts = [turn.events, turn.lost, turn.doubled].map(|count| count.to_string());
        let first = [
            format!("{} {}", turn.round, turn.side),
            format!("{:.0}", turn.events_per_second),
        ];
        let cost = turn.cpu_us.cells(processes);
        table.row(first.into_iter().chain(counts).chain(cost));
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::tests::cost, *};

    /// Two rounds: in the second the bare side came first.
    pub(in super::super) fn turns(process: &'static str, lost: usize, doubled: usize) -> Vec<Turn> {
        let turn = |round, side, events_per_second, lost, doubled| Turn {
            round,
            side,
            events: 80,
            events_per_second,
            lost,
            doubled,
            cpu_us: cost(process),
        };
        vec![
            turn(1, "formline", 40.0, lost, doubled),
            turn(1, "bare", 100.0, 0, 0),
            turn(2, "bare", 100.0, 0, 0),
            turn(2, "formline", 60.0, 0, 0),
        ]
    }

    #[test]
    fn what_was_lost_or_doubled_is_named() {
        assert_eq!(broken("saturated", &turns("steps", 0, 0)), [""; 0]);
        assert_eq!(
            broken("saturated", &turns("steps", 1, 2)),
            ["saturated, round 1, formline: 1 lost, 2 doubled"]
        );
    }

    #[test]
    fn a_round_is_a_pair_whoever_came_first() {
        assert_eq!(format!("{:?}", rates(&turns("steps", 0, 0))), "[0.4, 0.6]");
    }
}
