//! `bench`: measures Formline and its bare counterparts in turn, and reports.

mod chain;
mod follow;
mod guest;
mod host;
mod ingest;
mod postgres;
mod ready;
mod report;
mod saturated;
mod setting;
mod sheets;

use anyhow::{Context as _, Result, ensure};
use tokio::task::spawn_blocking;

use self::{
    guest::Guest,
    report::Report,
    setting::{Setting, seed_of_now},
};
use crate::{
    arguments::{Bench, Part},
    child::Child,
    cpu::{self, Used},
    generator::{self, Log, Plan, Target},
    progress,
};

/// Measures, prints the report, and fails if a submission was lost or doubled.
///
/// # Errors
/// What kept it from measuring, or what was lost or doubled.
pub async fn run(bench: &Bench) -> Result<()> {
    let parts = bench.part.map_or_else(Part::all, |part| vec![part]);
    let seed = bench.seed.unwrap_or_else(seed_of_now);
    // Before anything is measured, so that what is missing is said at once.
    let guest = if parts.iter().any(|part| part.needs_guest()) {
        Some(Guest::build().await?)
    } else {
        None
    };
    let setting = if parts.iter().all(|part| part.is_offline()) {
        None
    } else {
        Some(Setting::prepare(bench, &parts, seed).await?)
    };
    let mut report = Report::new(seed);
    report.kafka = setting.as_ref().map(|it| it.kafka.description.clone());
    for part in parts {
        let measured = measure(
            part,
            bench.rounds,
            guest.as_ref(),
            setting.as_ref(),
            &mut report,
        )
        .await;
        if let (Err(_), Some(setting)) = (&measured, &setting) {
            progress::say(&format!("the logs end with\n{}", setting.last_words()));
        }
        measured?;
    }
    progress::say("done");
    report.aims = report.aims();
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
    part: Part,
    rounds: u32,
    guest: Option<&Guest>,
    setting: Option<&Setting>,
    report: &mut Report,
) -> Result<()> {
    let guest = || guest.context("the part needs the plug-in to measure with");
    let setting = || setting.context("the part needs a Kafka");
    match part {
        Part::Host(options) => {
            let (plugin, seed) = (guest()?.file(), report.seed);
            let measure = move || host::measure(&plugin, seed, options, rounds);
            report.host = Some(spawn_blocking(measure).await??);
        }
        Part::Chain(options) => {
            report.chain = Some(chain::measure(setting()?, options, rounds).await?);
        }
        Part::Saturated(options) => {
            report.saturated =
                Some(saturated::measure(setting()?, guest()?, options, rounds).await?);
        }
        Part::Postgres(options) => {
            report.postgres = Some(postgres::measure(setting()?, options, rounds).await?);
        }
        Part::Sheets(options) => {
            report.sheets = Some(sheets::measure(setting()?, options).await?);
        }
        Part::Ingest(options) => {
            report.ingest = Some(ingest::measure(setting()?, options, rounds).await?);
        }
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
) -> Result<(Log, Used)> {
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
