//! Follows a process through a topic whose records lie ready, by the offsets that its group commits, to the last of them.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use formline_core::EventId;
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    report::{Cost, Turn, per_second},
    setting::Setting,
};
use crate::{
    child::Child,
    cpu::{self, Used},
    kafka::Backlog,
};

/// The time in which a process did not have to wait for records, and the end.
pub(super) struct Busy {
    first: Sample,
    last: Sample,
    /// When everything was committed.
    pub(super) done: Instant,
}

/// A moment of a process at work.
struct Sample {
    at: Instant,
    left: i64,
    used: Used,
}

/// Of the records, in hundredths, so many are warm-up, and so many are left when the measured time ends: then partitions
/// run dry one by one.
const WARM_UP: i64 = 10;
const REST: i64 = 10;

/// How often the committed offsets are asked for.
const PAUSE: Duration = Duration::from_millis(10);
/// After so long without a commit, a process has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the process has committed everything that lies in the topic. `used` says what the process, and whoever
/// works for it, have used so far.
pub(super) async fn follow(
    setting: &Setting,
    process: &mut Child,
    group: &str,
    topic: &str,
    used: impl Fn(&Child) -> Result<Used>,
) -> Result<Busy> {
    let (bootstrap, group, topic) = (
        setting.kafka.bootstrap.clone(),
        group.to_owned(),
        topic.to_owned(),
    );
    let backlog = spawn_blocking(move || Backlog::open(&bootstrap, &group, &topic)).await??;
    let backlog = Arc::new(backlog);
    let start = left(&backlog).await?;
    let rest = |hundredths| start * hundredths / 100;
    let (mut first, mut last) = (None, None);
    let (mut before, mut progress) = (start, Instant::now());
    while before > 0 {
        process.alive()?;
        ensure!(
            progress.elapsed() < PATIENCE,
            "{} has committed nothing for {PATIENCE:?}",
            process.name()
        );
        sleep(PAUSE).await;
        let (left, at) = (left(&backlog).await?, Instant::now());
        if left < before {
            (before, progress) = (left, at);
        }
        let sample = if first.is_none() && left <= rest(100 - WARM_UP) {
            &mut first
        } else if first.is_some() && last.is_none() && left <= rest(REST) {
            &mut last
        } else {
            continue;
        };
        let used = used(process)?;
        *sample = Some(Sample { at, left, used });
    }
    let both = first.zip(last);
    let (first, last) =
        both.context("it was done before it could be measured; let it have more to do")?;
    Ok(Busy {
        first,
        last,
        done: progress,
    })
}

async fn left(backlog: &Arc<Backlog>) -> Result<i64> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let asked = Arc::clone(backlog);
        match spawn_blocking(move || asked.left()).await? {
            // Kafka needs a moment to find a coordinator for the first group of all.
            Err(_) if Instant::now() < patience => sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

// === impl Busy ===

impl Busy {
    /// As a line of the report; `counts` says how often each submission lies at the destination.
    pub(super) fn turn(
        self,
        round: u32,
        side: &'static str,
        written: &[EventId],
        counts: &HashMap<EventId, u32>,
    ) -> Result<Turn> {
        let events = self.events()?;
        Ok(Turn {
            round,
            side,
            events,
            events_per_second: per_second(events, self.last.at - self.first.at),
            lost: written.iter().filter(|id| !counts.contains_key(id)).count(),
            doubled: counts.values().filter(|&&count| count > 1).count(),
            cpu_us: self.cost()?,
        })
    }

    /// CPU time of each process per record.
    pub(super) fn cost(&self) -> Result<Cost> {
        let spent = cpu::since(&self.first.used, self.last.used.clone());
        Ok(Cost::per_submission(spent, self.events()?))
    }

    fn events(&self) -> Result<usize> {
        Ok(usize::try_from(self.first.left - self.last.left)?)
    }
}
