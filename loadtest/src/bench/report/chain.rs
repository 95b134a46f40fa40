//! The figures of the part `chain`.

use std::fmt;

use serde::Serialize;

use super::{
    aim::Aim,
    figures::{CpuCost, latency_cells, median, ratio},
};
use crate::{latency::Percentiles, table::Table};

/// The figures of all rounds; each round has two rows, in the order in which they were measured.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct ChainReport {
    /// Submissions per second.
    pub(in crate::bench) rate: u32,
    pub(in crate::bench) seconds: u32,
    pub(in crate::bench) warm_up_seconds: u64,
    pub(in crate::bench) rows: Vec<ChainRow>,
}

/// Maximum ratio of Formline's latency to that of the bare loops.
const AIM: f64 = 1.1;

/// The figures of one side in one round.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct ChainRow {
    pub(in crate::bench) round: u32,
    pub(in crate::bench) side: &'static str,
    /// Accepted submissions, including the warm-up.
    pub(in crate::bench) accepted: usize,
    pub(in crate::bench) accepted_per_second: f64,
    pub(in crate::bench) refused: u64,
    /// Accepted submissions that are not in the last topic.
    pub(in crate::bench) lost: usize,
    /// Submissions that are in the last topic more than once.
    pub(in crate::bench) doubled: usize,
    /// From the response to the committed last output.
    pub(in crate::bench) latency: Percentiles,
    /// From the time at which a submission was due to its response.
    pub(in crate::bench) answer: Percentiles,
    pub(in crate::bench) cpu_us: CpuCost,
}

// === impl ChainReport ===

impl ChainReport {
    /// Lost and duplicated submissions as text.
    pub(super) fn broken(&self) -> Vec<String> {
        let broken = self
            .rows
            .iter()
            .filter(|row| row.lost > 0 || row.doubled > 0);
        let text = |row: &ChainRow| {
            let ChainRow {
                round,
                side,
                lost,
                doubled,
                ..
            } = row;
            format!("chain, round {round}, {side}: {lost} lost, {doubled} doubled")
        };
        broken.map(text).collect()
    }

    /// The aims with their figures.
    pub(super) fn aims(&self) -> Vec<Aim> {
        let aim = |name, of: fn(&ChainRow) -> f64| {
            let ratios = self.pairs().map(|(formline, bare)| of(formline) / of(bare));
            let what = format!("chain: {name}, formline / bare, median of rounds");
            Aim::at_most(what, AIM, median(ratios.collect()))
        };
        vec![
            aim("p50", |row| row.latency.p50_ms),
            aim("p99", |row| row.latency.p99_ms),
        ]
    }

    /// The rows of Formline and of the bare side, for each round.
    fn pairs(&self) -> impl Iterator<Item = (&ChainRow, &ChainRow)> {
        self.rows.chunks_exact(2).map(|pair| match pair[0].side {
            "formline" => (&pair[0], &pair[1]),
            _ => (&pair[1], &pair[0]),
        })
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "round side",
            "accepted",
            "per s",
            "refused",
            "lost",
            "doubled",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "max ms",
            "ingest us",
            "steps us",
            "kafka us",
            "generator us",
        ]);
        for row in &self.rows {
            let (name, rate) = (
                format!("{} {}", row.round, row.side),
                row.accepted_per_second,
            );
            let counts = [row.lost, row.doubled].map(|count| count.to_string());
            let first = [
                name,
                row.accepted.to_string(),
                format!("{rate:.0}"),
                row.refused.to_string(),
            ];
            let cost = row.cpu_us.cells(["ingest", "steps", "kafka", "generator"]);
            let cells = first
                .into_iter()
                .chain(counts)
                .chain(latency_cells(&row.latency));
            table.row(cells.chain(cost));
        }
        table
    }
}

impl fmt::Display for ChainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rate,
            seconds,
            warm_up_seconds,
            ..
        } = self;
        writeln!(
            f,
            "chain: {rate} submissions/s for {seconds} s after {warm_up_seconds} s of warm-up"
        )?;
        writeln!(
            f,
            "  latency from the response to the committed last output; us: CPU per submission"
        )?;
        write!(f, "{}", self.table())?;
        for (formline, bare) in self.pairs() {
            let round = formline.round;
            let p50 = ratio(formline.latency.p50_ms, bare.latency.p50_ms);
            let p99 = ratio(formline.latency.p99_ms, bare.latency.p99_ms);
            let steps = ratio(formline.cpu_us.of("steps"), bare.cpu_us.of("steps"));
            writeln!(
                f,
                "  round {round}, formline / bare: p50 {p50}, p99 {p99}, CPU of the steps {steps}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::figures::tests::*, *};

    fn row(side: &'static str, lost: usize, doubled: usize) -> ChainRow {
        ChainRow {
            round: 1,
            side,
            accepted: 10,
            accepted_per_second: 10.0,
            refused: 0,
            lost,
            doubled,
            latency: LATENCY,
            answer: LATENCY,
            cpu_us: cost("steps"),
        }
    }

    /// A round in which Formline has lost or duplicated submissions.
    pub(in crate::bench::report) fn report(lost: usize, doubled: usize) -> ChainReport {
        let rows = vec![row("formline", lost, doubled), row("bare", 0, 0)];
        ChainReport {
            rate: 10,
            seconds: 1,
            warm_up_seconds: 5,
            rows,
        }
    }

    #[test]
    fn lost_and_duplicated_submissions_are_reported() {
        assert_eq!(report(0, 0).broken(), [""; 0]);
        assert_eq!(
            report(1, 0).broken(),
            ["chain, round 1, formline: 1 lost, 0 doubled"]
        );
        assert_eq!(
            report(0, 2).broken(),
            ["chain, round 1, formline: 0 lost, 2 doubled"]
        );
    }

    #[test]
    fn the_ratios_of_each_round_are_reported() {
        let mut report = report(0, 0);
        report.rows[1].latency.p99_ms = 2.0;
        let text = report.to_string();
        let line = "round 1, formline / bare: p50 1.00, p99 2.00, CPU of the steps 1.00";
        assert!(text.contains(line), "{text}");
    }
}
