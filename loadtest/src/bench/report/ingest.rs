//! The figures of the part `ingest`.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::figures::{CpuCost, latency_cells, ratio};
use crate::{latency::Percentiles, table::Table};

/// The figures of all rounds: for each load, a row of the bare side, followed by a row of Formline.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct IngestReport {
    pub(in crate::bench) seconds: u32,
    pub(in crate::bench) warm_up_seconds: u64,
    pub(in crate::bench) rows: Vec<IngestRow>,
}

/// The figures of one side at one load in one round.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct IngestRow {
    pub(in crate::bench) round: u32,
    pub(in crate::bench) load: &'static str,
    pub(in crate::bench) connections: usize,
    pub(in crate::bench) side: &'static str,
    /// Accepted submissions, including the warm-up.
    pub(in crate::bench) accepted: usize,
    /// Records that were added to the topic; `None` for the bare side, which writes none.
    pub(in crate::bench) written: Option<i64>,
    pub(in crate::bench) accepted_per_second: f64,
    pub(in crate::bench) latency: Percentiles,
    pub(in crate::bench) cpu_us: CpuCost,
    /// The number of responses by status, without 202.
    pub(in crate::bench) refused: BTreeMap<u16, u64>,
}

// === impl IngestRow ===

impl IngestRow {
    fn name(&self) -> String {
        let Self {
            round,
            load,
            connections,
            side,
            ..
        } = self;
        format!("{round} {load} {connections:>3} {side}")
    }

    /// Whether the number of written records differs from the number of accepted submissions. A
    /// submission that got 503 may have been written, because its outcome is unknown.
    fn is_broken(&self) -> bool {
        let refused: u64 = self.refused.values().sum();
        let written = self
            .written
            .map(|written| u64::try_from(written).unwrap_or(0));
        let accepted = self.accepted as u64;
        written.is_some_and(|written| !(accepted..=accepted + refused).contains(&written))
    }
}

// === impl IngestReport ===

impl IngestReport {
    /// Differences between accepted and written submissions as text.
    pub(super) fn broken(&self) -> Vec<String> {
        let text = |row: &IngestRow| {
            let (name, accepted, written) = (row.name(), row.accepted, row.written.unwrap_or(0));
            format!("ingest, {name}: {accepted} accepted, {written} written")
        };
        self.rows
            .iter()
            .filter(|row| row.is_broken())
            .map(text)
            .collect()
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "round load connections side",
            "accepted/s",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "max ms",
            "ingest us",
            "kafka us",
            "generator us",
            "accepted",
            "written",
            "refused",
        ]);
        for row in &self.rows {
            let refused: u64 = row.refused.values().sum();
            let written = row
                .written
                .map_or_else(|| "-".to_owned(), |written| written.to_string());
            let first = [row.name(), format!("{:.0}", row.accepted_per_second)];
            let cost = row.cpu_us.cells(["ingest", "kafka", "generator"]);
            let counts = [row.accepted.to_string(), written, refused.to_string()];
            let cells = first.into_iter().chain(latency_cells(&row.latency));
            table.row(cells.chain(cost).chain(counts));
        }
        table
    }
}

impl fmt::Display for IngestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seconds,
            warm_up_seconds,
            rows,
        } = self;
        writeln!(
            f,
            "ingest: acks=all, {seconds} s after {warm_up_seconds} s of warm-up; bare responds with 202 without Kafka"
        )?;
        writeln!(
            f,
            "  half load: half of the rate of formline on 64 connections; us: CPU per submission"
        )?;
        write!(f, "{}", self.table())?;
        for pair in rows.chunks_exact(2) {
            let (bare, formline) = (&pair[0], &pair[1]);
            let IngestRow {
                round,
                load,
                connections,
                ..
            } = formline;
            let rate = ratio(formline.accepted_per_second, bare.accepted_per_second);
            let p99 = ratio(formline.latency.p99_ms, bare.latency.p99_ms);
            let cpu = ratio(formline.cpu_us.of("ingest"), bare.cpu_us.of("ingest"));
            write!(
                f,
                "  round {round}, {load} load on {connections} connections, formline / bare: "
            )?;
            writeln!(f, "accepted/s {rate}, p99 {p99}, CPU of ingest {cpu}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::figures::tests::*, *};

    fn row(side: &'static str, accepted: usize, written: Option<i64>, refused: u64) -> IngestRow {
        IngestRow {
            round: 1,
            load: "full",
            connections: 64,
            side,
            accepted,
            written,
            accepted_per_second: 10.0,
            latency: LATENCY,
            cpu_us: cost("ingest"),
            refused: [(503, refused)].into(),
        }
    }

    /// A report with these counts of Formline.
    pub(in crate::bench::report) fn report(
        accepted: usize,
        written: Option<i64>,
        refused: u64,
    ) -> IngestReport {
        let rows = vec![
            row("bare", 20, None, 0),
            row("formline", accepted, written, refused),
        ];
        IngestReport {
            seconds: 1,
            warm_up_seconds: 2,
            rows,
        }
    }

    #[test]
    fn accepted_submissions_must_be_written_and_refused_ones_may_be() {
        for (written, refused) in [(10, 0), (10, 2), (12, 2)] {
            assert_eq!(report(10, Some(written), refused).broken(), [""; 0]);
        }
        for (written, refused) in [(9, 0), (9, 5), (11, 0), (13, 2), (-1, 0)] {
            let broken = report(10, Some(written), refused).broken();
            assert_eq!(
                broken,
                [format!(
                    "ingest, 1 full  64 formline: 10 accepted, {written} written"
                )]
            );
        }
    }

    #[test]
    fn the_ratios_of_each_load_are_reported() {
        let mut report = report(10, Some(10), 0);
        report.rows[1].accepted_per_second = 5.0;
        let text = report.to_string();
        let line = "round 1, full load on 64 connections, formline / bare: accepted/s 0.50, p99 1.00, CPU of ingest 1.00";
        assert!(text.contains(line), "{text}");
    }
}
