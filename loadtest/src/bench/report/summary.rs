//! The report of a complete run.

use std::fmt;

use serde::Serialize;

use super::{
    aim::{Aim, Aims},
    chain::ChainReport,
    host::HostReport,
    ingest::IngestReport,
    postgres::PostgresReport,
    saturated::SaturatedReport,
    sheets::SheetsReport,
};
use crate::machine::Machine;

/// The figures of a run.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct Report {
    pub(in crate::bench) machine: Machine,
    /// The profile of the bench and the bare programs; the figures of a `debug` build are
    /// meaningless.
    pub(in crate::bench) build: &'static str,
    /// The version or address of Kafka; `None` if no part needs it.
    pub(in crate::bench) kafka: Option<String>,
    pub(in crate::bench) seed: u32,
    pub(in crate::bench) host: Option<HostReport>,
    pub(in crate::bench) chain: Option<ChainReport>,
    pub(in crate::bench) saturated: Option<SaturatedReport>,
    pub(in crate::bench) postgres: Option<PostgresReport>,
    pub(in crate::bench) sheets: Option<SheetsReport>,
    pub(in crate::bench) ingest: Option<IngestReport>,
    pub(in crate::bench) aims: Vec<Aim>,
}

/// A note in each report.
const NOTE: &str = "Absolute times are noisy: they depend on the machine and its other load. \
                    Compare the sides within a round.";

// === impl Report ===

impl Report {
    /// A report about this machine and this build without figures.
    pub(in crate::bench) fn new(seed: u32) -> Self {
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

    /// The aims of all parts with their figures.
    pub(in crate::bench) fn aims(&self) -> Vec<Aim> {
        let host = self.host.iter().flat_map(HostReport::aims);
        let chain = self.chain.iter().flat_map(ChainReport::aims);
        let saturated = self.saturated.iter().flat_map(SaturatedReport::aims);
        let postgres = self.postgres.iter().flat_map(PostgresReport::aims);
        let sheets = self.sheets.iter().filter_map(SheetsReport::aims);
        let sinks = postgres.chain(sheets);
        host.chain(chain).chain(saturated).chain(sinks).collect()
    }

    /// The violations as text; empty if every accepted submission arrived exactly once.
    pub(in crate::bench) fn broken(&self) -> Vec<String> {
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
        writeln!(f, "{NOTE}")?;
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

#[cfg(test)]
mod tests {
    use super::{
        super::{chain, host, ingest, postgres, saturated, sheets},
        *,
    };

    #[test]
    fn a_report_contains_all_parts_as_text_and_json() {
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
            NOTE,
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
        let json = serde_json::to_value(&report).expect("a report serializes");
        assert_eq!(json["chain"]["rows"][0]["latency"]["p99_ms"], 4.0);
        assert_eq!(json["ingest"]["rows"][1]["cpu_us"]["ingest"], 8.0);
    }
}
