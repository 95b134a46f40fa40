//! The figures of a run: as text for people, as JSON for programs, and what of them breaks the promise.

mod aim;
mod chain;
mod host;
mod ingest;
mod postgres;
mod saturated;
mod sheets;
mod turn;

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use crate::{latency::Percentiles, machine::Machine};

use self::aim::Aims;
pub(super) use self::{
    aim::Aim,
    chain::{ChainReport, ChainRow},
    host::{HostReport, HostRow},
    ingest::{IngestReport, IngestRow},
    postgres::PostgresReport,
    saturated::SaturatedReport,
    sheets::SheetsReport,
    turn::Turn,
};

/// A whole run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    /// How the bench, and with it the bare side, was compiled: `debug` figures mean nothing.
    pub(super) build: &'static str,
    /// None if nothing was measured that needs one.
    pub(super) kafka: Option<String>,
    pub(super) seed: u32,
    pub(super) host: Option<HostReport>,
    pub(super) chain: Option<ChainReport>,
    pub(super) saturated: Option<SaturatedReport>,
    pub(super) postgres: Option<PostgresReport>,
    pub(super) sheets: Option<SheetsReport>,
    pub(super) ingest: Option<IngestReport>,
    pub(super) aims: Vec<Aim>,
}

/// CPU time per accepted submission in microseconds, by process.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Cost(BTreeMap<&'static str, f64>);

const CAUTION: &str = "Absolute times are noisy: they depend on the machine and on what else it does. \
                       Compare within a round.";

/// So many in so long.
pub(super) fn per_second(count: usize, time: Duration) -> f64 {
    float(count) / time.as_secs_f64()
}

/// The middle one; it is not moved by the few that were disturbed. No number if there is none.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.get(middle) {
        Some(upper) if figures.len().is_multiple_of(2) => {
            f64::midpoint(figures[middle - 1], *upper)
        }
        Some(only) => *only,
        None => f64::NAN,
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(super) fn float(count: usize) -> f64 {
    count as f64
}

fn ratio(formline: f64, bare: f64) -> String {
    format!("{:.2}", formline / bare)
}

/// p50, p90, p99 and the maximum.
fn latency_cells(latency: &Percentiles) -> [String; 4] {
    let Percentiles {
        p50_ms,
        p90_ms,
        p99_ms,
        max_ms,
        ..
    } = latency;
    [p50_ms, p90_ms, p99_ms, max_ms].map(|ms| format!("{ms:.1}"))
}

// === impl Report ===

impl Report {
    /// Of this machine and this build, with no figures yet.
    pub(super) fn new(seed: u32) -> Self {
        let build = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        Self {
            machine: Machine::this(),
            build,
            kafka: None,
            seed,
            host: None,
            chain: None,
            saturated: None,
            postgres: None,
            sheets: None,
            ingest: None,
            aims: Vec::new(),
        }
    }

    /// What the figures should be, and are.
    pub(super) fn aims(&self) -> Vec<Aim> {
        let host = self.host.iter().flat_map(HostReport::aims);
        let chain = self.chain.iter().flat_map(ChainReport::aims);
        let saturated = self.saturated.iter().flat_map(SaturatedReport::aims);
        let postgres = self.postgres.iter().flat_map(PostgresReport::aims);
        let sheets = self.sheets.iter().filter_map(SheetsReport::aims);
        let sinks = postgres.chain(sheets);
        host.chain(chain).chain(saturated).chain(sinks).collect()
    }

    /// What was lost or doubled, in words; empty if every accepted submission arrived exactly once.
    pub(super) fn broken(&self) -> Vec<String> {
        let chain = self.chain.iter().flat_map(ChainReport::broken);
        let ingest = self.ingest.iter().flat_map(IngestReport::broken);
        let saturated = self.saturated.iter().flat_map(SaturatedReport::broken);
        let postgres = self.postgres.iter().flat_map(PostgresReport::broken);
        let sheets = self.sheets.iter().filter_map(SheetsReport::broken);
        let sinks = postgres.chain(sheets);
        chain.chain(saturated).chain(sinks).chain(ingest).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            cores,
            processor,
            kernel,
        } = &self.machine;
        writeln!(
            f,
            "machine  {cores} cores, {processor}, {kernel}; all processes share them"
        )?;
        if let Some(kafka) = &self.kafka {
            writeln!(f, "kafka    {kafka}")?;
        }
        writeln!(f, "build    {}", self.build)?;
        writeln!(f, "seed     {}", self.seed)?;
        writeln!(f, "{CAUTION}")?;
        if let Some(host) = &self.host {
            write!(f, "\n{host}")?;
        }
        if let Some(chain) = &self.chain {
            write!(f, "\n{chain}")?;
        }
        if let Some(saturated) = &self.saturated {
            write!(f, "\n{saturated}")?;
        }
        if let Some(postgres) = &self.postgres {
            write!(f, "\n{postgres}")?;
        }
        if let Some(sheets) = &self.sheets {
            write!(f, "\n{sheets}")?;
        }
        if let Some(ingest) = &self.ingest {
            write!(f, "\n{ingest}")?;
        }
        if !self.aims.is_empty() {
            write!(f, "\n{}", Aims(&self.aims))?;
        }
        Ok(())
    }
}

// === impl Cost ===

impl Cost {
    /// Shares out what was spent while so many were accepted.
    pub(super) fn per_submission(spent: BTreeMap<&'static str, Duration>, accepted: usize) -> Self {
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / float(accepted);
        Self(
            spent
                .into_iter()
                .map(|(name, spent)| (name, each(spent)))
                .collect(),
        )
    }

    /// Of one process; no number if it was not there.
    fn of(&self, process: &str) -> f64 {
        self.0.get(process).copied().unwrap_or(f64::NAN)
    }

    /// Of these processes; `-` for one that was not there.
    fn cells<const N: usize>(&self, processes: [&str; N]) -> [String; N] {
        processes.map(|process| match self.0.get(process) {
            Some(us) => format!("{us:.0}"),
            None => "-".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const LATENCY: Percentiles = Percentiles {
        count: 10,
        p50_ms: 2.0,
        p90_ms: 3.0,
        p99_ms: 4.0,
        max_ms: 5.0,
    };

    pub(super) fn cost(process: &'static str) -> Cost {
        Cost([(process, 8.0)].into())
    }

    #[test]
    fn cpu_time_is_shared_out_and_what_was_not_there_is_a_dash() {
        let cost = Cost::per_submission([("ingest", Duration::from_secs(2))].into(), 100_000);
        assert_eq!(cost.cells(["ingest", "kafka"]), ["20", "-"]);
        assert_eq!(ratio(cost.of("ingest"), 80.0), "0.25");
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(format!("{:?}", median(vec![9.0, 1.0, 2.0])), "2.0");
        assert_eq!(format!("{:?}", median(vec![4.0, 1.0])), "2.5");
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_report_has_the_facts_and_its_json_the_figures() {
        let machine = Machine {
            cores: 2,
            processor: "fast".to_owned(),
            kernel: "Linux 6".to_owned(),
        };
        let mut report = Report {
            machine,
            kafka: Some("4.3.1".to_owned()),
            host: Some(host::tests::report(0.9, 0.7)),
            chain: Some(chain::tests::report(1, 0)),
            saturated: Some(saturated::tests::report(0, 1)),
            postgres: Some(postgres::tests::report(1, 0)),
            sheets: Some(sheets::tests::report(60.0, 1)),
            ingest: Some(ingest::tests::report(10, Some(9), 0)),
            ..Report::new(7)
        };
        report.aims = report.aims();
        let text = report.to_string();
        for part in [
            "2 cores, fast",
            "kafka    4.3.1",
            "seed     7",
            CAUTION,
            "\nhost: ",
            "\nchain: ",
            "\nsaturated: ",
            "\npostgres: ",
            "\nsheets: ",
            "\ningest: ",
            "\naims\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert_eq!(report.broken().len(), 5);
        assert_eq!(report.aims.len(), 7);
        let json = serde_json::to_value(&report).expect("plain data");
        assert_eq!(json["chain"]["rows"][0]["latency"]["p99_ms"], 4.0);
        assert_eq!(json["ingest"]["rows"][1]["cpu_us"]["ingest"], 8.0);
    }
}
