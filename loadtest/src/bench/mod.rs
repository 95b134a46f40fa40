//! `bench`: measures Formline and its bare counterparts in turn, and reports.

mod chain;
mod ingest;
mod report;
mod setting;

use anyhow::{Context as _, Result, ensure};

use self::{report::Report, setting::Setting};
use crate::{
    arguments::{self, Bench, Part},
    machine::Machine,
    progress,
};

/// Measures, prints the report, and fails if a submission was lost or doubled.
///
/// # Errors
/// What kept it from measuring, or what was lost or doubled.
pub async fn run(bench: &Bench) -> Result<()> {
    let (chain, ingest) = match bench.part {
        Some(Part::Chain(chain)) => (Some(chain), None),
        Some(Part::Ingest(ingest)) => (None, Some(ingest)),
        None => (
            Some(arguments::Chain::default()),
            Some(arguments::Ingest::default()),
        ),
    };
    let setting = Setting::prepare(bench).await?;
    let mut report = Report {
        machine: Machine::this(),
        build: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
        kafka: setting.kafka.description.clone(),
        seed: setting.seed,
        chain: None,
        ingest: None,
    };
    // The chain first: ingest leaves more records behind than the steps could work off in a while.
    if let Some(chain) = chain {
        report.chain = Some(chain::measure(&setting, chain, bench.rounds).await?);
    }
    if let Some(ingest) = ingest {
        report.ingest = Some(ingest::measure(&setting, ingest, bench.rounds).await?);
    }
    progress::say("done");
    println!("{report}");
    if let Some(file) = &bench.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let broken = report.broken();
    ensure!(
        broken.is_empty(),
        "not every submission arrived exactly once: {}",
        broken.join("; ")
    );
    Ok(())
}
