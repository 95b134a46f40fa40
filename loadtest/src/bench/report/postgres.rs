//! The figures of the PostgreSQL sink.

use std::fmt;

use serde::Serialize;

use super::{
    Aim, median, ratio,
    turn::{self, Turn},
};

/// Of each round a turn of each side, in the order in which they were measured.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct PostgresReport {
    /// What is known of the server.
    pub(in crate::bench) server: String,
    /// Rows that lay ready in each round.
    pub(in crate::bench) events: u32,
    /// Most rows of a transaction, on both sides.
    pub(in crate::bench) batch: usize,
    pub(in crate::bench) rows: Vec<Turn>,
}

/// Of the bare loop's rate, whose table has no index: the sink's has four, and it looks each id up.
const AIM: f64 = 0.25;

// === impl PostgresReport ===

impl PostgresReport {
    /// What was lost or doubled, in words.
    pub(super) fn broken(&self) -> Vec<String> {
        turn::broken("postgres", &self.rows)
    }

    pub(super) fn aims(&self) -> Vec<Aim> {
        let what = "postgres: rows/s, formline / bare COPY, median of rounds".to_owned();
        vec![Aim::at_least(what, AIM, median(turn::rates(&self.rows)))]
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
            "postgres: {events} rows lie ready; transactions of at most {batch} rows"
        )?;
        writeln!(
            f,
            "  PostgreSQL {server}; bare: COPY without any index; us: CPU per row"
        )?;
        let processes = ["sink", "postgres", "kafka"];
        write!(f, "{}", turn::table(rows, "rows", processes))?;
        for (formline, bare) in turn::pairs(rows) {
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
    use super::{super::turn::tests::turns, *};

    pub(in super::super) fn report(lost: usize, doubled: usize) -> PostgresReport {
        PostgresReport {
            server: "15".to_owned(),
            events: 100,
            batch: 10,
            rows: turns("sink", lost, doubled),
        }
    }

    #[test]
    fn each_round_has_its_ratios_and_their_median_is_held_against_the_aim() {
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
