//! One step with one output that never has to wait for events, beside a bare loop between topics of as many partitions.
//! The step's plug-in sends each event on as it is: the loop has none.

use std::path::Path;

use anyhow::Result;
use formline_core::{
    EventId,
    topic::{self, Topic},
};
use tokio::task::spawn_blocking;

use super::{
    follow::follow,
    guest::{self, Guest},
    ready,
    report::{SaturatedReport, Turn},
    setting::{Setting, now_ms},
};
use crate::{arguments::Saturated, bare::copy_loop, child::Child, cpu, destination, progress};

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
/// Events of the round before the first, which only warms Kafka up: it compiles its own code while it runs.
const WARM_KAFKA_EVENTS: u32 = 100_000;

/// One side of one round.
struct Side<'a> {
    setting: &'a Setting,
    round: u32,
    name: &'static str,
    process: Child,
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
        let (since_ms, written) = (now_ms(), ready::fill(setting, INPUT, round, events).await?);
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

    async fn measure(mut self, since_ms: i64, written: &[EventId]) -> Result<Turn> {
        let (group, output) = match self.name {
            "formline" => (GROUP.to_owned(), FORMLINE),
            _ => (copy_loop::group(INPUT, BARE), BARE),
        };
        let setting = self.setting;
        let used = |process: &Child| cpu::so_far(&setting.watched([process]));
        let busy = follow(setting, &mut self.process, &group, INPUT, used).await?;
        self.process.stop().await?;
        let client = setting.client.clone();
        let counts =
            spawn_blocking(move || destination::count(&client, output, since_ms)).await??;
        busy.turn(self.round, self.name, written, &counts)
    }
}
