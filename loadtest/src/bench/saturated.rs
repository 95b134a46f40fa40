//! One step with one output that never has to wait for events, beside a bare loop between topics of as many partitions.
//! The step's plug-in sends each event on as it is: the loop has none.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use formline_core::{
    EventId, Producer, producer,
    topic::{self, Topic},
};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use super::{
    guest::{self, Guest},
    report::{Cost, SaturatedReport, SaturatedRow, per_second},
    setting::{Setting, now_ms},
};
use crate::{
    arguments::Saturated,
    bare::copy_loop,
    child::Child,
    cpu::{self, Used},
    destination,
    generator::{self, Students, Target as _},
    kafka::Backlog,
    progress,
};

const INPUT: &str = "formline-loadtest.in";
/// Where each side sends to.
const FORMLINE: &str = "formline-loadtest.out";
const BARE: &str = "formline-loadtest.bare";
const PARTITIONS: i32 = 6;

const GROUP: &str = "formline.loadtest.copy";
const APP: &str = "loadtest";
const STEP: &str = "copy";

/// A step's batch has no more records than this; nor has the loop's.
const BATCH: usize = 2_000;
/// Of the events, in hundredths, so many are warm-up, and so many are left when the measured time ends: then partitions
/// run dry one by one.
const WARM_UP: i64 = 10;
const REST: i64 = 10;
/// The same for Kafka, which compiles its own code while it runs.
const WARM_KAFKA_EVENTS: u32 = 100_000;

/// How often the committed offsets are asked for.
const PAUSE: Duration = Duration::from_millis(10);
/// After so long without a commit, a side has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Records that are under way while the topic is filled.
const WRITERS: usize = 1_000;

/// One side of one round.
struct Side<'a> {
    setting: &'a Setting,
    round: u32,
    name: &'static str,
    process: Child,
}

/// A moment of a side at work.
struct Sample {
    at: Instant,
    left: i64,
    used: Used,
}

/// Measures both sides in turn, on the same records.
pub(super) async fn measure(
    setting: &Setting,
    guest: &Guest,
    options: Saturated,
    rounds: u32,
) -> Result<SaturatedReport> {
    let topics = [INPUT, FORMLINE, BARE].map(|name| Topic {
        name: name.to_owned(),
        partitions: PARTITIONS,
        config: [].into(),
    });
    topic::apply(&setting.client, &topics).await?;
    let app = setting.app(APP, &app())?;
    let warming = options.events.min(WARM_KAFKA_EVENTS);
    let mut rows = Vec::new();
    for round in 0..=rounds {
        let events = if round == 0 { warming } else { options.events };
        progress::say(&format!(
            "saturated, round {round} of {rounds}: writing {events} events"
        ));
        let (since_ms, written) = (now_ms(), fill(setting, round, events).await?);
        // The order changes, so that what one side leaves behind does not always fall to the other.
        for is_formline in [round % 2 == 1, round % 2 == 0] {
            let side = Side::start(setting, guest, &app, round, is_formline).await?;
            rows.push(side.measure(since_ms, &written).await?);
        }
    }
    // The first round has warmed Kafka up.
    rows.drain(..2);
    Ok(SaturatedReport {
        events: options.events,
        batch: BATCH,
        rows,
    })
}

/// What `app.toml` says of the step.
fn app() -> String {
    format!(
        r#"
        [app]
        name = "{APP}"

        [[topic]]
        name = "{INPUT}"
        partitions = {PARTITIONS}

        [[topic]]
        name = "{FORMLINE}"
        partitions = {PARTITIONS}

        [[step]]
        name = "{STEP}"
        plugin = "{plugin}"
        input = {{ in = ["{INPUT}"] }}
        output = {{ out = "{FORMLINE}" }}
        config = {{ work = "send" }}
        "#,
        plugin = guest::NAME,
    )
}

/// Writes so many submissions into the input, and gives their ids.
async fn fill(setting: &Setting, round: u32, events: u32) -> Result<Vec<EventId>> {
    let limits = producer::Options {
        delivery_timeout: Duration::from_secs(30),
        queue_messages: 100_000,
        queue_kib: 256 << 10,
    };
    let producer = Arc::new(Producer::open(&setting.client, limits)?);
    let students = Arc::new(Students::bodies(setting.seed.wrapping_add(round)));
    let mut writers = JoinSet::new();
    let next = Arc::new(AtomicU32::new(0));
    for _ in 0..WRITERS {
        let next = Arc::clone(&next);
        let mut topic = generator::Topic {
            name: INPUT.into(),
            producer: Arc::clone(&producer),
            students: Arc::clone(&students),
        };
        writers.spawn(async move {
            let mut written = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= events {
                    return anyhow::Ok(written);
                }
                written.extend(topic.send(number.into()).await?.id);
            }
        });
    }
    let mut written = Vec::new();
    while let Some(ids) = writers.join_next().await {
        written.extend(ids??);
    }
    Ok(written)
}

// === impl Side ===

impl<'a> Side<'a> {
    async fn start(
        setting: &'a Setting,
        guest: &Guest,
        app: &Path,
        round: u32,
        is_formline: bool,
    ) -> Result<Self> {
        let name = if is_formline { "formline" } else { "bare" };
        progress::say(&format!("saturated, round {round}: {name}"));
        let process = if is_formline {
            setting.process(app, guest.folder.path(), &[STEP])?.0
        } else {
            setting.bare_loops(&[INPUT, BARE], BATCH)?
        };
        Ok(Self {
            setting,
            round,
            name,
            process,
        })
    }

    async fn measure(mut self, since_ms: i64, written: &[EventId]) -> Result<SaturatedRow> {
        let (group, output) = match self.name {
            "formline" => (GROUP.to_owned(), FORMLINE),
            _ => (copy_loop::group(INPUT, BARE), BARE),
        };
        let bootstrap = self.setting.kafka.bootstrap.clone();
        let backlog = spawn_blocking(move || Backlog::open(&bootstrap, &group, INPUT)).await??;
        let (first, last) = self.follow(Arc::new(backlog)).await?;
        self.process.stop().await?;
        let client = self.setting.client.clone();
        let counts =
            spawn_blocking(move || destination::count(&client, output, since_ms)).await??;
        let events = usize::try_from(first.left - last.left)?;
        Ok(SaturatedRow {
            round: self.round,
            side: self.name,
            events,
            events_per_second: per_second(events, last.at - first.at),
            lost: written.iter().filter(|id| !counts.contains_key(id)).count(),
            doubled: doubled(&counts),
            cpu_us: Cost::per_submission(cpu::since(&first.used, last.used), events),
        })
    }

    /// Waits until everything is committed. Gives the moments between which it was saturated.
    async fn follow(&mut self, backlog: Arc<Backlog>) -> Result<(Sample, Sample)> {
        let start = self.sample(&backlog).await?;
        let rest = |hundredths| start.left * hundredths / 100;
        let (mut first, mut last) = (None, None);
        let (mut left, mut progress) = (start.left, Instant::now());
        while left > 0 {
            self.process.alive()?;
            ensure!(
                progress.elapsed() < PATIENCE,
                "{} has committed nothing for {PATIENCE:?}",
                self.name
            );
            sleep(PAUSE).await;
            let now = self.sample(&backlog).await?;
            if now.left < left {
                (left, progress) = (now.left, Instant::now());
            }
            if first.is_none() && now.left <= rest(100 - WARM_UP) {
                first = Some(now);
            } else if first.is_some() && last.is_none() && now.left <= rest(REST) {
                last = Some(now);
            }
        }
        let both = first.zip(last);
        both.context("it was done before it could be measured; let it have more --events")
    }

    async fn sample(&self, backlog: &Arc<Backlog>) -> Result<Sample> {
        let patience = Instant::now() + PATIENCE;
        let left = loop {
            let asked = Arc::clone(backlog);
            match spawn_blocking(move || asked.left()).await? {
                // Kafka needs a moment to find a coordinator for the first group of all.
                Err(_) if Instant::now() < patience => sleep(PAUSE).await,
                answer => break answer?,
            }
        };
        let watched = self.setting.watched([&self.process]);
        Ok(Sample {
            at: Instant::now(),
            left,
            used: cpu::so_far(&watched)?,
        })
    }
}

fn doubled(counts: &HashMap<EventId, u32>) -> usize {
    counts.values().filter(|&&count| count > 1).count()
}
