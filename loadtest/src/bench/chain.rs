//! The chain enrich -> rows of apps/student-data at a constant rate, beside two bare loops between topics of as many
//! partitions: from the answer to the committed last output.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use formline_core::{
    EventId, Producer, producer,
    topic::{self, Topic},
};
use tokio::task::spawn_blocking;

use super::{
    report::{ChainReport, ChainRow, Cost, per_second},
    setting::{Setting, now_ms},
};
use crate::{
    arguments::Chain,
    bare::{copy_loop::BATCH_RECORDS, handler::PATH},
    child::Child,
    destination::{self, Watch},
    generator::{self, Http, Log, Pace, Plan, Students, Target},
    latency::Latencies,
    progress,
};

/// The chain of the app: its topics have 6, 6 and 1 partitions.
const STEPS: [&str; 2] = ["enrich", "rows"];
const LAST_OUTPUT: &str = "student-data.rows";
/// The bare chain's topics, with as many partitions.
const BARE: [(&str, i32); 3] = [
    ("formline-loadtest.a", 6),
    ("formline-loadtest.b", 6),
    ("formline-loadtest.c", 1),
];

const WARM_UP: Duration = Duration::from_secs(5);
/// After so long with either side, a measurement in a fresh Kafka is like one in an old Kafka.
const WARM_KAFKA_SECONDS: u32 = 40;
/// Enough for every submission of a 100 ms long stall at 1,000 a second.
const CONNECTIONS: usize = 128;

/// Measures both sides in turn.
pub(super) async fn measure(setting: &Setting, options: Chain, rounds: u32) -> Result<ChainReport> {
    let bare = BARE.map(|(name, partitions)| Topic {
        name: name.to_owned(),
        partitions,
        config: [].into(),
    });
    topic::apply(&setting.client, &bare).await?;
    // Kafka compiles its own code while it runs, and would charge that to whoever comes first.
    progress::say("chain: kafka warms up with both sides");
    let warming = Chain {
        seconds: options.seconds.min(WARM_KAFKA_SECONDS),
        ..options
    };
    formline(setting, warming, 0).await?;
    bare_loops(setting, warming, 0).await?;
    let mut rows = Vec::new();
    for round in 1..=rounds {
        // The order changes, so that what one side leaves behind does not always fall to the other.
        for is_formline in [round % 2 == 1, round % 2 == 0] {
            let side = if is_formline { "formline" } else { "bare" };
            progress::say(&format!("chain, round {round} of {rounds}: {side}"));
            rows.push(if is_formline {
                formline(setting, options, round).await?
            } else {
                bare_loops(setting, options, round).await?
            });
        }
    }
    let Chain { seconds, rate } = options;
    Ok(ChainReport {
        rate,
        seconds,
        warm_up_seconds: WARM_UP.as_secs(),
        rows,
    })
}

async fn formline(setting: &Setting, options: Chain, round: u32) -> Result<ChainRow> {
    let (ingest, address) = setting.ingest().await?;
    let processes = vec![ingest, setting.steps(&STEPS).await?];
    let students = Arc::new(Students::requests(setting.seed.wrapping_add(round), PATH));
    let open = async move || Http::connect(address, Arc::clone(&students)).await;
    let side = Side {
        name: "formline",
        round,
        last_output: LAST_OUTPUT,
        processes,
    };
    side.measure(setting, options, open).await
}

async fn bare_loops(setting: &Setting, options: Chain, round: u32) -> Result<ChainRow> {
    let [(first, _), _, (last, _)] = BARE;
    let processes = vec![setting.bare_loops(&BARE.map(|(name, _)| name), BATCH_RECORDS)?];
    let students = Arc::new(Students::bodies(setting.seed.wrapping_add(round)));
    // As ingest has it by default.
    let limits = producer::Options {
        delivery_timeout: Duration::from_secs(5),
        queue_messages: 100_000,
        queue_kib: 256 << 10,
    };
    let producer = Arc::new(Producer::open(&setting.client, limits)?);
    let open = async move || {
        let (producer, students) = (Arc::clone(&producer), Arc::clone(&students));
        Ok(generator::Topic {
            name: first.into(),
            producer,
            students,
        })
    };
    let side = Side {
        name: "bare",
        round,
        last_output: last,
        processes,
    };
    side.measure(setting, options, open).await
}

/// One side of one round.
struct Side {
    name: &'static str,
    round: u32,
    last_output: &'static str,
    processes: Vec<Child>,
}

// === impl Side ===

impl Side {
    async fn measure<T: Target + 'static>(
        mut self,
        setting: &Setting,
        options: Chain,
        open: impl AsyncFn() -> Result<T> + Send + 'static,
    ) -> Result<ChainRow> {
        let (client, topic, since_ms) = (setting.client.clone(), self.last_output, now_ms());
        let watch = spawn_blocking(move || Watch::begin(&client, topic)).await??;
        self.wait_until_open(&watch, &mut open().await?).await?;

        let pace = Pace::Open {
            rate: f64::from(options.rate),
        };
        let plan = Plan::from_now(pace, WARM_UP, Duration::from_secs(options.seconds.into()));
        let (log, cpu) =
            super::send(setting, &mut self.processes, &plan, CONNECTIONS, open).await?;
        // One more: the submission that opened the chain.
        watch
            .wait_for(log.accepted.len() + 1, || self.alive())
            .await?;
        let arrivals = watch.end()?;
        for process in self.processes {
            process.stop().await?;
        }
        let client = setting.client.clone();
        let counts = spawn_blocking(move || destination::count(&client, topic, since_ms)).await??;
        let accepted = log.accepted_in(&plan.measured);
        Ok(ChainRow {
            round: self.round,
            side: self.name,
            accepted: log.accepted.len(),
            accepted_per_second: per_second(accepted, plan.measured.end - plan.measured.start),
            refused: log.refused.values().sum(),
            lost: lost(&log, &counts),
            doubled: counts.values().filter(|&&count| count > 1).count(),
            latency: latencies(&log, &plan, &arrivals).percentiles(),
            answer: log.latencies.percentiles(),
            cpu_us: Cost::per_submission(cpu, accepted),
        })
    }

    /// Sends one submission and waits until it has arrived: groups are joined then, and plug-ins are compiled.
    async fn wait_until_open(&mut self, watch: &Watch, target: &mut impl Target) -> Result<()> {
        // A number that no run reaches.
        let answer = target.send(u64::MAX).await?;
        ensure!(
            answer.status == 202,
            "the first submission was answered with {}",
            answer.status
        );
        watch.wait_for(1, || self.alive()).await?;
        let topic = self.last_output;
        ensure!(
            watch.seen() > 0,
            "nothing arrives in {topic}; is there a backlog? a fresh Kafka has none, leave --bootstrap out"
        );
        Ok(())
    }

    fn alive(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Child::alive)
    }
}

/// Accepted submissions that are not in the last topic, counted there after everything has stopped.
fn lost(log: &Log, counts: &HashMap<EventId, u32>) -> usize {
    let arrived = |id: &Option<EventId>| id.is_some_and(|id| counts.contains_key(&id));
    log.accepted.iter().filter(|(id, _)| !arrived(id)).count()
}

/// From the answer to the arrival, of what was answered in the measured time. A record may be seen before the answer
/// was read: that is no time at all.
fn latencies(log: &Log, plan: &Plan, arrivals: &HashMap<EventId, Instant>) -> Latencies {
    let mut latencies = Latencies::new();
    for (id, answered) in log
        .accepted
        .iter()
        .filter(|(_, at)| plan.measured.contains(at))
    {
        if let Some(arrived) = id.as_ref().and_then(|id| arrivals.get(id)) {
            latencies.record(arrived.saturating_duration_since(*answered));
        }
    }
    latencies
}
