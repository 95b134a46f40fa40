//! `bench`: measures Formline and its bare counterparts in turn, and reports.

mod chain;
mod ingest;
mod report;
mod setting;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::task::spawn_blocking;

use self::{report::Report, setting::Setting};
use crate::{
    arguments::{self, Bench, Part},
    child::Child,
    cpu,
    generator::{self, Log, Plan, Target},
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
    if let Err(error) = measure(&setting, chain, ingest, bench.rounds, &mut report).await {
        progress::say(&format!("the logs end with\n{}", setting.last_words()));
        return Err(error);
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

async fn measure(
    setting: &Setting,
    chain: Option<arguments::Chain>,
    ingest: Option<arguments::Ingest>,
    rounds: u32,
    report: &mut Report,
) -> Result<()> {
    // The chain first: ingest leaves more records behind than the steps could work off in a while.
    if let Some(chain) = chain {
        report.chain = Some(chain::measure(setting, chain, rounds).await?);
    }
    if let Some(ingest) = ingest {
        report.ingest = Some(ingest::measure(setting, ingest, rounds).await?);
    }
    Ok(())
}

/// Sends the load of a plan, and measures what the children and the processes beside them spend meanwhile.
async fn send<T: Target + 'static>(
    setting: &Setting,
    children: &mut [Child],
    plan: &Plan,
    targets: usize,
    open: impl AsyncFn() -> Result<T> + Send + 'static,
) -> Result<(Log, BTreeMap<&'static str, Duration>)> {
    let planned = plan.clone();
    let sending = async { spawn_blocking(move || generator::run(targets, open, &planned)).await? };
    let watched = setting.watched(&*children);
    let sent = tokio::try_join!(sending, cpu::during(&plan.measured, &watched));
    if sent.is_err() {
        // A child that has ended is the reason, and its last words say more than a closed connection.
        children.iter_mut().try_for_each(Child::alive)?;
    }
    sent
}
