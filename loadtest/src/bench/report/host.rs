//! The figures of the part `host`.

use std::fmt;

use serde::Serialize;

use super::{aim::Aim, figures::ratio};
use crate::table::Table;

/// The figures of all rounds; each round has a row for each batch size.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct HostReport {
    pub(in crate::bench) value_bytes: usize,
    /// The time for each row.
    pub(in crate::bench) seconds: u32,
    pub(in crate::bench) rows: Vec<HostRow>,
}

/// Microseconds per event; each figure is the median of many laps.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct HostRow {
    pub(in crate::bench) round: u32,
    /// Events per call.
    pub(in crate::bench) batch: usize,
    /// The plug-in takes each event and does nothing.
    pub(in crate::bench) next_us: f64,
    /// The plug-in forwards each event.
    pub(in crate::bench) send_us: f64,
    /// The plug-in adds a field to the JSON of each event and forwards it.
    pub(in crate::bench) label_us: f64,
    /// The same JSON work in native code.
    pub(in crate::bench) native_us: f64,
}

/// Maximum cost of an event with one output in microseconds, by batch size. A minimal program on
/// wasmtime 48 took 0.78 and 0.50 us.
const AIMS: [(usize, f64); 2] = [(1, 1.0), (256, 0.6)];

// === impl HostReport ===

impl HostReport {
    /// The aims with the figures of the best round, because other load on the machine only
    /// increases the cost.
    pub(super) fn aims(&self) -> Vec<Aim> {
        let aim = |(batch, most)| {
            let rows = self.rows.iter().filter(|row| row.batch == batch);
            let got = rows.map(|row| row.send_us).fold(f64::INFINITY, f64::min);
            let what = format!("host: us for next + send in batches of {batch}, best round");
            Aim::at_most(what, most, got)
        };
        AIMS.into_iter().map(aim).collect()
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "round batch",
            "next us",
            "next + send us",
            "label us",
            "native label us",
            "label / native",
            "(label - send) / native",
        ]);
        for row in &self.rows {
            let name = format!("{} {:>3}", row.round, row.batch);
            let us = [row.next_us, row.send_us, row.label_us, row.native_us];
            let us = us.map(|us| format!("{us:.2}"));
            let ratios = [row.label_us, row.label_us - row.send_us];
            let ratios = ratios.map(|us| ratio(us, row.native_us));
            table.row([name].into_iter().chain(us).chain(ratios));
        }
        table
    }

    /// The fixed cost of a call: the difference between an event in the smallest batch and one in
    /// the largest batch.
    fn call_us(&self, round: u32, us: fn(&HostRow) -> f64) -> f64 {
        let rows = || self.rows.iter().filter(|row| row.round == round);
        let smallest = rows().min_by_key(|row| row.batch).map_or(f64::NAN, us);
        let largest = rows().max_by_key(|row| row.batch).map_or(f64::NAN, us);
        smallest - largest
    }
}

impl fmt::Display for HostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, seconds) = (self.value_bytes, self.seconds);
        writeln!(
            f,
            "host: values of {bytes} bytes, without Kafka; median of laps within {seconds} s"
        )?;
        writeln!(
            f,
            "  us per event; native: the same function without a host"
        )?;
        write!(f, "{}", self.table())?;
        let rounds = self.rows.iter().map(|row| row.round).max().unwrap_or(0);
        for round in 1..=rounds {
            let next = self.call_us(round, |row| row.next_us);
            let send = self.call_us(round, |row| row.send_us);
            writeln!(
                f,
                "  round {round}, fixed cost of a call: next {next:.2} us, next + send {send:.2} us"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::bench::report) fn report(small_batch: f64, large_batch: f64) -> HostReport {
        let row = |round, batch, send_us| HostRow {
            round,
            batch,
            next_us: send_us / 2.0,
            send_us,
            label_us: send_us + 3.0,
            native_us: 2.0,
        };
        let rows = vec![
            row(1, 1, small_batch),
            row(1, 256, large_batch),
            row(2, 1, 9.0),
            row(2, 256, 9.0),
        ];
        HostReport {
            value_bytes: 300,
            seconds: 1,
            rows,
        }
    }

    #[test]
    fn the_fixed_cost_of_a_call_and_the_ratios_are_reported() {
        let text = report(1.0, 0.5).to_string();
        let call = "round 1, fixed cost of a call: next 0.25 us, next + send 0.50 us";
        assert!(text.contains(call), "{text}");
        let row = text.lines().find(|line| line.starts_with("  1 256"));
        let cells: Vec<_> = row
            .expect("the table has this row")
            .split_whitespace()
            .collect();
        assert_eq!(
            cells,
            ["1", "256", "0.25", "0.50", "3.50", "2.00", "1.75", "1.50"]
        );
    }

    #[test]
    fn the_aims_use_the_best_round() {
        let met: Vec<_> = report(0.9, 0.7).aims().iter().map(Aim::is_met).collect();
        assert_eq!(met, [true, false]);
    }
}
