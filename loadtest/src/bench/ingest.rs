//! Ingest at full load and at half load, compared with a bare handler that sends the same response
//! without Kafka.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use tokio::task::spawn_blocking;

use super::{
    environment::Environment,
    load,
    report::{CpuCost, IngestReport, IngestRow, per_second},
};
use crate::{
    arguments::IngestArgs,
    bare::handler::PATH,
    child::Child,
    generator::{HttpTarget, Pace, Plan, Students},
    kafka, progress,
};

/// The topic of the form.
const TOPIC: &str = "student-data";
/// The warm-up of each measurement.
const WARM_UP: Duration = Duration::from_secs(2);
/// The warm-up of Kafka before the first measurement.
const WARM_KAFKA: Duration = Duration::from_secs(10);
/// Number of connections at full load.
const CONNECTIONS: [usize; 2] = [64, 512];
/// Number of connections at half load; there are enough to keep the rate while responses are slow.
const HALF_LOAD_CONNECTIONS: usize = 256;

/// One row of the table, measured on both sides.
#[derive(Clone, Copy)]
struct Cell {
    round: u32,
    /// The seed of the students, which is unique for each cell.
    seed: u32,
    load: &'static str,
    connections: usize,
    pace: Pace,
    measured: Duration,
}

/// Measures both sides of each cell in turn.
pub(super) async fn measure(
    environment: &Environment,
    options: IngestArgs,
    rounds: u32,
) -> Result<IngestReport> {
    let measured = Duration::from_secs(options.seconds.into());
    warm_up(environment).await?;
    let mut rows: Vec<IngestRow> = Vec::new();
    for round in 1..=rounds {
        let mut saturated = Vec::new();
        for connections in CONNECTIONS {
            let seed = next_seed(environment, &rows);
            let cell = Cell {
                round,
                seed,
                load: "full",
                connections,
                pace: Pace::Closed,
                measured,
            };
            rows.push(cell.bare(environment).await?);
            rows.push(cell.formline(environment).await?);
            saturated.extend(rows.last().map(|formline| formline.accepted_per_second));
        }
        ensure!(
            saturated[0] >= 2.0,
            "ingest accepts no submissions; statuses of its responses: {:?}",
            rows.last().map(|row| &row.refused)
        );
        let (seed, pace) = (
            next_seed(environment, &rows),
            Pace::Open {
                rate: saturated[0] / 2.0,
            },
        );
        let cell = Cell {
            round,
            seed,
            load: "half",
            connections: HALF_LOAD_CONNECTIONS,
            pace,
            measured,
        };
        rows.push(cell.bare(environment).await?);
        rows.push(cell.formline(environment).await?);
    }
    Ok(IngestReport {
        seconds: options.seconds,
        warm_up_seconds: WARM_UP.as_secs(),
        rows,
    })
}

/// Warms up Kafka, because the JVM compiles code while it runs, which would slow down the first
/// cell.
async fn warm_up(environment: &Environment) -> Result<()> {
    let cell = Cell {
        round: 0,
        seed: environment.seed.wrapping_sub(1),
        load: "warming",
        connections: CONNECTIONS[0],
        pace: Pace::Closed,
        measured: WARM_KAFKA,
    };
    cell.formline(environment).await?;
    Ok(())
}

fn next_seed(environment: &Environment, rows: &[IngestRow]) -> u32 {
    environment
        .seed
        .wrapping_add(u32::try_from(rows.len()).unwrap_or(u32::MAX))
}

// === impl Cell ===

impl Cell {
    async fn bare(self, environment: &Environment) -> Result<IngestRow> {
        self.print_progress("bare");
        let (mut handler, address) = environment.bare_handler().await?;
        let row = self
            .measure(environment, "bare", address, &mut handler)
            .await?;
        handler.stop().await?;
        Ok(row)
    }

    async fn formline(self, environment: &Environment) -> Result<IngestRow> {
        self.print_progress("formline");
        let (mut ingest, address) = environment.ingest().await?;
        let before = end_offset(environment).await?;
        let row = self
            .measure(environment, "formline", address, &mut ingest)
            .await?;
        // All records are written once ingest has stopped.
        ingest.stop().await?;
        Ok(IngestRow {
            written: Some(end_offset(environment).await? - before),
            ..row
        })
    }

    async fn measure(
        self,
        environment: &Environment,
        side: &'static str,
        address: SocketAddr,
        child: &mut Child,
    ) -> Result<IngestRow> {
        let students = Arc::new(Students::requests(self.seed, PATH));
        let plan = Plan::from_now(self.pace, WARM_UP, self.measured);
        let open = async move || HttpTarget::connect(address, Arc::clone(&students)).await;
        let children = std::slice::from_mut(child);
        let (results, cpu) =
            load::send(environment, children, &plan, self.connections, open).await?;
        let accepted = results.accepted_in(&plan.measured);
        Ok(IngestRow {
            round: self.round,
            load: self.load,
            connections: self.connections,
            side,
            accepted: results.accepted.len(),
            written: None,
            accepted_per_second: per_second(accepted, self.measured),
            latency: results.latencies.percentiles(),
            cpu_us: CpuCost::per_submission(cpu, accepted),
            refused: results.refused,
        })
    }

    fn print_progress(&self, side: &str) {
        let Self {
            round,
            load,
            connections,
            ..
        } = self;
        progress::print(&format!(
            "ingest, round {round}: {side}, {load} load on {connections} connections"
        ));
    }
}

async fn end_offset(environment: &Environment) -> Result<i64> {
    let bootstrap = environment.kafka.bootstrap.clone();
    spawn_blocking(move || kafka::end_offset(&bootstrap, TOPIC)).await?
}
