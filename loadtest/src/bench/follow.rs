//! Follows a process through a full topic by the offsets that its consumer group commits.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use formline_core::EventId;
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    environment::Environment,
    report::{CpuCost, Measurement, per_second},
};
use crate::{
    child::Child,
    cpu::{self, Used},
    kafka::Backlog,
};

/// The period in which a process did not have to wait for records.
pub(super) struct BusyPeriod {
    first: Sample,
    last: Sample,
    /// When all records were committed.
    pub(super) done: Instant,
}

/// The state of a process at one time.
struct Sample {
    at: Instant,
    remaining: i64,
    used: Used,
}

/// The percentage of the records at the start that is warm-up.
const WARM_UP_PERCENT: i64 = 10;
/// The percentage of the records at the end that is not measured, because partitions become empty
/// at different times.
const REST_PERCENT: i64 = 10;

/// How often the committed offsets are requested.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Time without a commit after which the process counts as failed.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until the process has committed all records of the topic. `used` returns the CPU time that
/// the process and the servers that it uses have spent so far.
pub(super) async fn follow(
    environment: &Environment,
    process: &mut Child,
    group: &str,
    topic: &str,
    used: impl Fn(&Child) -> Result<Used>,
) -> Result<BusyPeriod> {
    let (bootstrap, group, topic) = (
        environment.kafka.bootstrap.clone(),
        group.to_owned(),
        topic.to_owned(),
    );
    let backlog = spawn_blocking(move || Backlog::open(&bootstrap, &group, &topic)).await??;
    let backlog = Arc::new(backlog);
    let start = remaining(&backlog).await?;
    let percent = |percentage| start * percentage / 100;
    let (mut first, mut last) = (None, None);
    let (mut before, mut progress) = (start, Instant::now());
    while before > 0 {
        process.check_alive()?;
        ensure!(
            progress.elapsed() < TIMEOUT,
            "{} has not committed any record for {TIMEOUT:?}",
            process.name()
        );
        sleep(POLL_INTERVAL).await;
        let (remaining, at) = (remaining(&backlog).await?, Instant::now());
        if remaining < before {
            (before, progress) = (remaining, at);
        }
        let sample = if first.is_none() && remaining <= percent(100 - WARM_UP_PERCENT) {
            &mut first
        } else if first.is_some() && last.is_none() && remaining <= percent(REST_PERCENT) {
            &mut last
        } else {
            continue;
        };
        let used = used(process)?;
        *sample = Some(Sample {
            at,
            remaining,
            used,
        });
    }
    let both = first.zip(last);
    let (first, last) =
        both.context("the process finished before it could be measured; use more records")?;
    Ok(BusyPeriod {
        first,
        last,
        done: progress,
    })
}

async fn remaining(backlog: &Arc<Backlog>) -> Result<i64> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let backlog = Arc::clone(backlog);
        match spawn_blocking(move || backlog.remaining()).await? {
            // Kafka needs some time to find a coordinator for its first group.
            Err(_) if Instant::now() < deadline => sleep(POLL_INTERVAL).await,
            result => return result,
        }
    }
}

// === impl BusyPeriod ===

impl BusyPeriod {
    /// The measurement for the report; `counts` is how often each submission is at the destination.
    pub(super) fn measurement(
        self,
        round: u32,
        side: &'static str,
        written: &[EventId],
        counts: &HashMap<EventId, u32>,
    ) -> Result<Measurement> {
        let events = self.events()?;
        Ok(Measurement {
            round,
            side,
            events,
            events_per_second: per_second(events, self.last.at - self.first.at),
            lost: written.iter().filter(|id| !counts.contains_key(id)).count(),
            doubled: counts.values().filter(|&&count| count > 1).count(),
            cpu_us: self.cost()?,
        })
    }

    /// The CPU time of each process per record.
    pub(super) fn cost(&self) -> Result<CpuCost> {
        let spent = cpu::since(&self.first.used, self.last.used.clone());
        Ok(CpuCost::per_submission(spent, self.events()?))
    }

    fn events(&self) -> Result<usize> {
        Ok(usize::try_from(self.first.remaining - self.last.remaining)?)
    }
}
