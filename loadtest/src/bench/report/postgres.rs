//! The figures of the part `postgres`.

use std::fmt;

use serde::Serialize;

use super::{
    aim::Aim,
    figures::{median, ratio},
    measurement::{self, Measurement},
};

/// The figures of all rounds; each round has two rows, in the order in which they were measured.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct PostgresReport {
    /// The version of the server.
    pub(in crate::bench) server: String,
    /// Rows in the topic at the start of each round.
    pub(in crate::bench) events: u32,
    /// Maximum number of rows in a transaction on both sides.
    pub(in crate::bench) batch: usize,
    pub(in crate::bench) rows: Vec<Measurement>,
}

/// Minimum ratio of the sink's rate to that of the bare loop. The sink's table has four indexes and
/// each id is looked up, while the table of the bare loop has no index.
const AIM: f64 = 0.25;

// === impl PostgresReport ===

impl PostgresReport {
    /// Lost and duplicated rows as text.
    pub(super) fn broken(&self) -> Vec<String> {
        measurement::broken("postgres", &self.rows)
    }

    /// The aim with its figure.
    pub(super) fn aims(&self) -> Vec<Aim> {
        let what = "postgres: rows/s, formline / bare COPY, median of rounds".to_owned();
        vec![Aim::at_least(
            what,
            AIM,
            median(measurement::rates(&self.rows)),
        )]
    }
}

impl fmt::Display for PostgresReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            events,
            batch,
            rows,
        } = self;
        writeln!(
            f,
            "postgres: {events} rows in the topic at the start; transactions of at most {batch} rows"
        )?;
        writeln!(
            f,
            "  PostgreSQL {server}; bare: COPY into a table without indexes; us: CPU per row"
        )?;
        let processes = ["sink", "postgres", "kafka"];
        write!(f, "{}", measurement::table(rows, "rows", processes))?;
        for (formline, bare) in measurement::pairs(rows) {
            let round = formline.round;
            let rate = ratio(formline.events_per_second, bare.events_per_second);
            let [sink, server] = ["sink", "postgres"]
                .map(|process| ratio(formline.cpu_us.of(process), bare.cpu_us.of(process)));
            writeln!(
                f,
                "  round {round}, formline / bare: rows/s {rate}, CPU of the sink {sink}, of PostgreSQL {server}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::measurement::tests::measurements, *};

    pub(in crate::bench::report) fn report(lost: usize, doubled: usize) -> PostgresReport {
        PostgresReport {
            server: "15".to_owned(),
            events: 100,
            batch: 10,
            rows: measurements("sink", lost, doubled),
        }
    }

    #[test]
    fn the_ratios_of_each_round_are_reported_and_their_median_is_compared_with_the_aim() {
        let report = report(0, 1);
        let text = report.to_string();
        for part in [
            "PostgreSQL 15;",
            "round 1, formline / bare: rows/s 0.40, CPU of the sink 1.00, of PostgreSQL NaN",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(report.aims().iter().all(Aim::is_met));
        assert_eq!(
            report.broken(),
            ["postgres, round 1, formline: 0 lost, 1 doubled"]
        );
    }
}
