//! One step with one output that never has to wait for events, compared with a bare loop between
//! topics with as many partitions. The plug-in of the step forwards each event; the loop has no
//! plug-in.

use std::path::Path;

use anyhow::Result;
use formline_core::{
    EventId,
    kafka::topic::{self, Topic},
};
use tokio::task::spawn_blocking;

use super::{
    environment::{Environment, now_ms},
    follow::follow,
    guest::{self, Guest},
    prefill,
    report::{Measurement, SaturatedReport},
};
use crate::{arguments::SaturatedArgs, bare::copy_loop, child::Child, cpu, destination, progress};

const INPUT: &str = "formline-loadtest.in";
/// The output of Formline.
const FORMLINE: &str = "formline-loadtest.out";
/// The output of the bare loop.
const BARE: &str = "formline-loadtest.bare";
const PARTITIONS: i32 = 6;

const GROUP: &str = "formline.loadtest.copy";
const APP: &str = "loadtest";
const STEP: &str = "copy";

/// Maximum number of records in a transaction on both sides, which is the limit of a step's batch.
const BATCH: usize = 2_000;
/// Number of events of the first round, which only warms up Kafka, because the JVM compiles code
/// while it runs.
const WARM_KAFKA_EVENTS: u32 = 100_000;

/// One side of one round.
struct Side<'a> {
    environment: &'a Environment,
    round: u32,
    name: &'static str,
    process: Child,
}

/// Measures both sides in turn with the same records.
pub(super) async fn measure(
    environment: &Environment,
    guest: &Guest,
    options: SaturatedArgs,
    rounds: u32,
) -> Result<SaturatedReport> {
    let topics = [INPUT, FORMLINE, BARE].map(|name| Topic {
        name: name.to_owned(),
        partitions: PARTITIONS,
        config: [].into(),
    });
    topic::apply(&environment.client, &topics).await?;
    let app = environment.app(APP, &app())?;
    let warm_up = options.events.min(WARM_KAFKA_EVENTS);
    let mut rows = Vec::new();
    for round in 0..=rounds {
        let events = if round == 0 { warm_up } else { options.events };
        progress::print(&format!(
            "saturated, round {round} of {rounds}: writing {events} events"
        ));
        let (since_ms, written) = (
            now_ms(),
            prefill::fill(environment, INPUT, round, events).await?,
        );
        // The order alternates, so that after-effects of one side do not always affect the other.
        for is_formline in [round % 2 == 1, round % 2 == 0] {
            let side = Side::start(environment, guest, &app, round, is_formline).await?;
            rows.push(side.measure(since_ms, &written).await?);
        }
    }
    // The first round was the warm-up.
    rows.drain(..2);
    Ok(SaturatedReport {
        events: options.events,
        batch: BATCH,
        rows,
    })
}

/// The app with the step.
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

// === impl Side ===

impl<'a> Side<'a> {
    async fn start(
        environment: &'a Environment,
        guest: &Guest,
        app: &Path,
        round: u32,
        is_formline: bool,
    ) -> Result<Self> {
        let name = if is_formline { "formline" } else { "bare" };
        progress::print(&format!("saturated, round {round}: {name}"));
        let process = if is_formline {
            environment.process(app, guest.folder.path(), &[STEP])?.0
        } else {
            environment.bare_loops(&[INPUT, BARE], BATCH)?
        };
        Ok(Self {
            environment,
            round,
            name,
            process,
        })
    }

    async fn measure(mut self, since_ms: i64, written: &[EventId]) -> Result<Measurement> {
        let (group, output) = match self.name {
            "formline" => (GROUP.to_owned(), FORMLINE),
            _ => (copy_loop::group(INPUT, BARE), BARE),
        };
        let environment = self.environment;
        let used = |process: &Child| cpu::so_far(&environment.watched([process]));
        let busy = follow(environment, &mut self.process, &group, INPUT, used).await?;
        self.process.stop().await?;
        let client = environment.client.clone();
        let counts =
            spawn_blocking(move || destination::count(&client, output, since_ms)).await??;
        busy.measurement(self.round, self.name, written, &counts)
    }
}
