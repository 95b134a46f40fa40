//! `bench`: measures Formline and its bare counterparts in turn, and reports.

use anyhow::{Context as _, Result, ensure};
use tokio::task::spawn_blocking;

use super::{
    chain,
    environment::{Environment, seed_from_clock},
    guest::Guest,
    host, ingest, postgres,
    report::Report,
    saturated, sheets,
};
use crate::{
    arguments::{Bench, Part},
    progress,
};

/// Measures, and prints the report.
///
/// # Errors
///
/// If a measurement fails, or if a submission was lost or duplicated.
pub async fn run(bench: &Bench) -> Result<()> {
    let parts = bench.part.map_or_else(Part::all, |part| vec![part]);
    let seed = bench.seed.unwrap_or_else(seed_from_clock);
    // Built before the first measurement, so that missing prerequisites are reported immediately.
    let guest = if parts.iter().any(|part| part.needs_guest()) {
        Some(Guest::build().await?)
    } else {
        None
    };
    let environment = if parts.iter().all(|part| part.is_offline()) {
        None
    } else {
        Some(Environment::prepare(bench, &parts, seed).await?)
    };
    let mut report = Report::new(seed);
    report.kafka = environment.as_ref().map(|it| it.kafka.description.clone());
    for part in parts {
        let measured = measure(
            part,
            bench.rounds,
            guest.as_ref(),
            environment.as_ref(),
            &mut report,
        )
        .await;
        if let (Err(_), Some(environment)) = (&measured, &environment) {
            progress::print(&format!("the logs end with:\n{}", environment.log_tail()));
        }
        measured?;
    }
    progress::print("done");
    report.aims = report.aims();
    println!("{report}");
    if let Some(file) = &bench.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("failed to write {}", file.display()))?;
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
    part: Part,
    rounds: u32,
    guest: Option<&Guest>,
    environment: Option<&Environment>,
    report: &mut Report,
) -> Result<()> {
    let guest = || guest.context("the part needs the plug-in of the bench");
    let environment = || environment.context("the part needs Kafka");
    match part {
        Part::Host(options) => {
            let (plugin, seed) = (guest()?.file(), report.seed);
            let measure = move || host::measure(&plugin, seed, options, rounds);
            report.host = Some(spawn_blocking(measure).await??);
        }
        Part::Chain(options) => {
            report.chain = Some(chain::measure(environment()?, options, rounds).await?);
        }
        Part::Saturated(options) => {
            report.saturated =
                Some(saturated::measure(environment()?, guest()?, options, rounds).await?);
        }
        Part::Postgres(options) => {
            report.postgres = Some(postgres::measure(environment()?, options, rounds).await?);
        }
        Part::Sheets(options) => {
            report.sheets = Some(sheets::measure(environment()?, options).await?);
        }
        Part::Ingest(options) => {
            report.ingest = Some(ingest::measure(environment()?, options, rounds).await?);
        }
    }
    Ok(())
}
