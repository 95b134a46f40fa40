//! The chain enrich -> rows of apps/student-data at a constant rate, compared with two bare loops
//! between topics with as many partitions. Latency is the time from the response to the committed
//! last output.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use formline_core::{
    EventId, Producer,
    kafka::{
        producer::ProducerOptions,
        topic::{self, Topic},
    },
};
use tokio::task::spawn_blocking;

use super::{
    environment::{Environment, now_ms},
    load,
    report::{ChainReport, ChainRow, CpuCost, per_second},
};
use crate::{
    arguments::ChainArgs,
    bare::{copy_loop::BATCH_RECORDS, handler::PATH},
    child::Child,
    destination::{self, ArrivalWatcher},
    generator::{HttpTarget, Pace, Plan, Results, Students, Target, TopicTarget},
    latency::Latencies,
    progress,
};

/// The steps of the app; their topics have 6, 6 and 1 partitions.
const STEPS: [&str; 2] = ["enrich", "rows"];
const LAST_OUTPUT: &str = "student-data.rows";
/// The topics of the bare chain, with as many partitions.
const BARE: [(&str, i32); 3] = [
    ("formline-loadtest.a", 6),
    ("formline-loadtest.b", 6),
    ("formline-loadtest.c", 1),
];

/// The warm-up of each measurement.
const WARM_UP: Duration = Duration::from_secs(5);
/// Time with each side after which a new Kafka node is as fast as one that has run for longer.
const WARM_KAFKA_SECONDS: u32 = 40;
/// Number of connections; enough for all submissions of a stall of 100 ms at 1,000 per second.
const CONNECTIONS: usize = 128;

/// Measures both sides in turn.
pub(super) async fn measure(
    environment: &Environment,
    options: ChainArgs,
    rounds: u32,
) -> Result<ChainReport> {
    let bare = BARE.map(|(name, partitions)| Topic {
        name: name.to_owned(),
        partitions,
        config: [].into(),
    });
    topic::apply(&environment.client, &bare).await?;
    // The JVM compiles Kafka's code while it runs, which would slow down the first measurement.
    progress::print("chain: warming up kafka with both sides");
    let warm_up = ChainArgs {
        seconds: options.seconds.min(WARM_KAFKA_SECONDS),
        ..options
    };
    formline(environment, warm_up, 0).await?;
    bare_loops(environment, warm_up, 0).await?;
    let mut rows = Vec::new();
    for round in 1..=rounds {
        // The order alternates, so that after-effects of one side do not always affect the other.
        for is_formline in [round % 2 == 1, round % 2 == 0] {
            let side = if is_formline { "formline" } else { "bare" };
            progress::print(&format!("chain, round {round} of {rounds}: {side}"));
            rows.push(if is_formline {
                formline(environment, options, round).await?
            } else {
                bare_loops(environment, options, round).await?
            });
        }
    }
    let ChainArgs { seconds, rate } = options;
    Ok(ChainReport {
        rate,
        seconds,
        warm_up_seconds: WARM_UP.as_secs(),
        rows,
    })
}

async fn formline(environment: &Environment, options: ChainArgs, round: u32) -> Result<ChainRow> {
    let (ingest, address) = environment.ingest().await?;
    let processes = vec![ingest, environment.steps(&STEPS).await?];
    let students = Arc::new(Students::requests(
        environment.seed.wrapping_add(round),
        PATH,
    ));
    let open = async move || HttpTarget::connect(address, Arc::clone(&students)).await;
    let side = Side {
        name: "formline",
        round,
        last_output: LAST_OUTPUT,
        processes,
    };
    side.measure(environment, options, open).await
}

async fn bare_loops(environment: &Environment, options: ChainArgs, round: u32) -> Result<ChainRow> {
    let [(first, _), _, (last, _)] = BARE;
    let processes = vec![environment.bare_loops(&BARE.map(|(name, _)| name), BATCH_RECORDS)?];
    let students = Arc::new(Students::bodies(environment.seed.wrapping_add(round)));
    // The defaults of ingest.
    let limits = ProducerOptions {
        delivery_timeout: Duration::from_secs(5),
        queue_messages: 100_000,
        queue_kib: 256 << 10,
    };
    let producer = Arc::new(Producer::open(&environment.client, limits)?);
    let open = async move || {
        let (producer, students) = (Arc::clone(&producer), Arc::clone(&students));
        Ok(TopicTarget {
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
    side.measure(environment, options, open).await
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
        environment: &Environment,
        options: ChainArgs,
        open: impl AsyncFn() -> Result<T> + Send + 'static,
    ) -> Result<ChainRow> {
        let (client, topic, since_ms) = (environment.client.clone(), self.last_output, now_ms());
        let watcher = spawn_blocking(move || ArrivalWatcher::start(&client, topic)).await??;
        self.wait_until_open(&watcher, &mut open().await?).await?;

        let pace = Pace::Open {
            rate: f64::from(options.rate),
        };
        let plan = Plan::from_now(pace, WARM_UP, Duration::from_secs(options.seconds.into()));
        let (results, cpu) =
            load::send(environment, &mut self.processes, &plan, CONNECTIONS, open).await?;
        // One more, because of the submission that opened the chain.
        watcher
            .wait_for(results.accepted.len() + 1, || self.check_alive())
            .await?;
        let arrivals = watcher.finish()?;
        for process in self.processes {
            process.stop().await?;
        }
        let client = environment.client.clone();
        let counts = spawn_blocking(move || destination::count(&client, topic, since_ms)).await??;
        let accepted = results.accepted_in(&plan.measured);
        Ok(ChainRow {
            round: self.round,
            side: self.name,
            accepted: results.accepted.len(),
            accepted_per_second: per_second(accepted, plan.measured.end - plan.measured.start),
            refused: results.refused.values().sum(),
            lost: lost(&results, &counts),
            doubled: counts.values().filter(|&&count| count > 1).count(),
            latency: latencies(&results, &plan, &arrivals).percentiles(),
            answer: results.latencies.percentiles(),
            cpu_us: CpuCost::per_submission(cpu, accepted),
        })
    }

    /// Sends one submission and waits until it arrives: then consumer groups are joined and
    /// plug-ins are compiled.
    async fn wait_until_open(
        &mut self,
        watcher: &ArrivalWatcher,
        target: &mut impl Target,
    ) -> Result<()> {
        // No run reaches this number.
        let response = target.send(u64::MAX).await?;
        ensure!(
            response.status == 202,
            "the first submission got status {}",
            response.status
        );
        watcher.wait_for(1, || self.check_alive()).await?;
        let topic = self.last_output;
        ensure!(
            watcher.seen() > 0,
            "no record arrives in {topic}; if the topics have a backlog, omit --bootstrap to use a new Kafka"
        );
        Ok(())
    }

    fn check_alive(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Child::check_alive)
    }
}

/// The number of accepted submissions that are not in the last topic after all processes have
/// stopped.
fn lost(results: &Results, counts: &HashMap<EventId, u32>) -> usize {
    let arrived = |id: &Option<EventId>| id.is_some_and(|id| counts.contains_key(&id));
    results
        .accepted
        .iter()
        .filter(|(id, _)| !arrived(id))
        .count()
}

/// The latencies from response to arrival of the submissions whose response came in the measured
/// period. A record may arrive before the response was read; its latency is 0.
fn latencies(results: &Results, plan: &Plan, arrivals: &HashMap<EventId, Instant>) -> Latencies {
    let mut latencies = Latencies::new();
    for (id, accepted) in results
        .accepted
        .iter()
        .filter(|(_, at)| plan.measured.contains(at))
    {
        if let Some(arrived) = id.as_ref().and_then(|id| arrivals.get(id)) {
            latencies.record(arrived.saturating_duration_since(*accepted));
        }
    }
    latencies
}
