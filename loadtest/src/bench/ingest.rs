//! Ingest as fast as it answers, and at half of that, beside a bare handler that answers the same without Kafka.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use tokio::task::spawn_blocking;

use super::{
    report::{Cost, IngestReport, IngestRow, per_second},
    setting::Setting,
};
use crate::{
    arguments::Ingest,
    bare::handler::PATH,
    child::Child,
    generator::{Http, Pace, Plan, Students},
    kafka, progress,
};

/// The form's topic.
const TOPIC: &str = "student-data";
const WARM_UP: Duration = Duration::from_secs(2);
const WARM_KAFKA: Duration = Duration::from_secs(10);
const CONNECTIONS: [usize; 2] = [64, 512];
/// At half load the rate must hold while answers are slow for a moment, so there are connections to spare.
const HALF_LOAD_CONNECTIONS: usize = 256;

/// One cell of the table, measured on both sides.
#[derive(Clone, Copy)]
struct Cell {
    round: u32,
    /// Students of each cell have rolls of their own.
    seed: u32,
    load: &'static str,
    connections: usize,
    pace: Pace,
    measured: Duration,
}

/// Measures both sides of each cell in turn.
pub(super) async fn measure(
    setting: &Setting,
    options: Ingest,
    rounds: u32,
) -> Result<IngestReport> {
    let measured = Duration::from_secs(options.seconds.into());
    warm_up(setting).await?;
    let mut rows: Vec<IngestRow> = Vec::new();
    for round in 1..=rounds {
        let mut saturated = Vec::new();
        for connections in CONNECTIONS {
            let seed = next_seed(setting, &rows);
            let cell = Cell {
                round,
                seed,
                load: "full",
                connections,
                pace: Pace::Closed,
                measured,
            };
            rows.push(cell.bare(setting).await?);
            rows.push(cell.formline(setting).await?);
            saturated.extend(rows.last().map(|formline| formline.accepted_per_second));
        }
        ensure!(
            saturated[0] >= 2.0,
            "ingest accepts nothing, but answers {:?}",
            rows.last().map(|row| &row.refused)
        );
        let (seed, pace) = (
            next_seed(setting, &rows),
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
        rows.push(cell.bare(setting).await?);
        rows.push(cell.formline(setting).await?);
    }
    Ok(IngestReport {
        seconds: options.seconds,
        warm_up_seconds: WARM_UP.as_secs(),
        rows,
    })
}

/// Kafka compiles its own code while it runs, which must not fall into the first cell.
async fn warm_up(setting: &Setting) -> Result<()> {
    let cell = Cell {
        round: 0,
        seed: setting.seed.wrapping_sub(1),
        load: "warming",
        connections: CONNECTIONS[0],
        pace: Pace::Closed,
        measured: WARM_KAFKA,
    };
    cell.formline(setting).await?;
    Ok(())
}

fn next_seed(setting: &Setting, rows: &[IngestRow]) -> u32 {
    setting
        .seed
        .wrapping_add(u32::try_from(rows.len()).unwrap_or(u32::MAX))
}

// === impl Cell ===

impl Cell {
    async fn bare(self, setting: &Setting) -> Result<IngestRow> {
        self.say("bare");
        let (mut handler, address) = setting.bare_handler().await?;
        let row = self.measure(setting, "bare", address, &mut handler).await?;
        handler.stop().await?;
        Ok(row)
    }

    async fn formline(self, setting: &Setting) -> Result<IngestRow> {
        self.say("formline");
        let (mut ingest, address) = setting.ingest().await?;
        let before = end_offset(setting).await?;
        let row = self
            .measure(setting, "formline", address, &mut ingest)
            .await?;
        // What it has in hand is written when it has stopped.
        ingest.stop().await?;
        Ok(IngestRow {
            written: Some(end_offset(setting).await? - before),
            ..row
        })
    }

    async fn measure(
        self,
        setting: &Setting,
        side: &'static str,
        address: SocketAddr,
        child: &mut Child,
    ) -> Result<IngestRow> {
        let students = Arc::new(Students::requests(self.seed, PATH));
        let plan = Plan::from_now(self.pace, WARM_UP, self.measured);
        let open = async move || Http::connect(address, Arc::clone(&students)).await;
        let children = std::slice::from_mut(child);
        let (log, cpu) = super::send(setting, children, &plan, self.connections, open).await?;
        let accepted = log.accepted_in(&plan.measured);
        Ok(IngestRow {
            round: self.round,
            load: self.load,
            connections: self.connections,
            side,
            accepted: log.accepted.len(),
            written: None,
            accepted_per_second: per_second(accepted, self.measured),
            latency: log.latencies.percentiles(),
            cpu_us: Cost::per_submission(cpu, accepted),
            refused: log.refused,
        })
    }

    fn say(&self, side: &str) {
        let Self {
            round,
            load,
            connections,
            ..
        } = self;
        progress::say(&format!(
            "ingest, round {round}: {side}, {load} load on {connections} connections"
        ));
    }
}

async fn end_offset(setting: &Setting) -> Result<i64> {
    let bootstrap = setting.kafka.bootstrap.clone();
    spawn_blocking(move || kafka::end_offset(&bootstrap, TOPIC)).await?
}
