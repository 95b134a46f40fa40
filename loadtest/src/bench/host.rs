//! What an event costs in the host of plug-ins, without Kafka; and JSON work in WebAssembly beside the same natively.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use formline_processors::{Bench, Candidate, Inspector};
use serde_json::json;

use super::report::{HostReport, HostRow, float, median};
use crate::{arguments::Host, generator::Students, label::labelled, progress};

const BATCHES: [usize; 3] = [1, 16, 256];
/// Events of one lap: a multiple of every batch, and some milliseconds, so that few laps are interrupted by others.
const LAP: usize = 8192;
/// Bytes of a record's value.
const VALUE: usize = 300;
/// Laps before the first that counts: memory has grown then, and caches are filled.
const WARM_UP: usize = 3;

/// The three kinds of work of the plug-in, and the one that is done natively as well.
struct Works {
    next: Bench,
    send: Bench,
    label: Bench,
}

/// Microseconds per event, of each lap.
#[derive(Default)]
struct Laps {
    next: Vec<f64>,
    send: Vec<f64>,
    label: Vec<f64>,
    native: Vec<f64>,
}

/// Measures all sizes of batches in each round. Blocks the thread.
pub(super) fn measure(plugin: &Path, seed: u32, options: Host, rounds: u32) -> Result<HostReport> {
    let cache = tempfile::tempdir()?;
    let inspector = Inspector::open(&cache.path().join("compiled"))?;
    let candidate = inspector.load(plugin).map_err(anyhow::Error::msg)?;
    let mut works = Works::start(&candidate)?;
    let values = values(seed);
    let time = Duration::from_secs(options.seconds.into());
    let mut rows = Vec::new();
    for round in 1..=rounds {
        for batch in BATCHES {
            progress::say(&format!(
                "host, round {round} of {rounds}: batches of {batch}"
            ));
            let values: Vec<_> = values[..batch].iter().map(Vec::as_slice).collect();
            rows.push(works.row(round, &values, time)?);
        }
    }
    Ok(HostReport {
        value_bytes: VALUE,
        seconds: options.seconds,
        rows,
    })
}

// === impl Works ===

impl Works {
    fn start(candidate: &Candidate) -> Result<Self> {
        let start = |work| {
            let started = Bench::start(candidate, json!({ "work": work }));
            started.map_err(anyhow::Error::msg)
        };
        Ok(Self {
            next: start("next")?,
            send: start("send")?,
            label: start("label")?,
        })
    }

    /// Laps of all kinds in turn, so that a busy moment of the machine falls to all of them.
    fn row(&mut self, round: u32, values: &[&[u8]], time: Duration) -> Result<HostRow> {
        let mut laps = Laps::default();
        for _ in 0..WARM_UP {
            self.lap(values, &mut Laps::default())?;
        }
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.lap(values, &mut laps)?;
        }
        Ok(HostRow {
            round,
            batch: values.len(),
            next_us: median(laps.next),
            send_us: median(laps.send),
            label_us: median(laps.label),
            native_us: median(laps.native),
        })
    }

    fn lap(&mut self, values: &[&[u8]], laps: &mut Laps) -> Result<()> {
        laps.next.push(run(&mut self.next, values, 0)?);
        laps.send.push(run(&mut self.send, values, 1)?);
        laps.label.push(run(&mut self.label, values, 1)?);
        laps.native.push(native(values)?);
        Ok(())
    }
}

/// One lap of the plug-in, which has to send so many records for each event.
fn run(bench: &mut Bench, values: &[&[u8]], sends: u64) -> Result<f64> {
    let lap = bench.run(values, u32::try_from(LAP / values.len())?);
    let lap = lap.map_err(anyhow::Error::msg)?;
    ensure!(
        lap.sent == sends * lap.events,
        "{} records were sent for {} events",
        lap.sent,
        lap.events
    );
    Ok(per_event(lap.time))
}

/// The same work as a function of this program, whose results are kept to the end of a batch as well.
fn native(values: &[&[u8]]) -> Result<f64> {
    let begun = Instant::now();
    for _ in 0..LAP / values.len() {
        let results = values.iter().map(|value| labelled(black_box(value)));
        let results: Option<Vec<_>> = results.collect();
        black_box(results.context("a student has no label")?);
    }
    Ok(per_event(begun.elapsed()))
}

fn per_event(lap: Duration) -> f64 {
    lap.as_secs_f64() * 1e6 / float(LAP)
}

/// Students with a field more, which fills their text up.
fn values(seed: u32) -> Vec<Vec<u8>> {
    let students = Students::bodies(seed);
    let value = |number| {
        let mut value = Vec::new();
        students.write(number, &mut value);
        value.pop();
        value.extend_from_slice(br#","about":""#);
        value.resize(VALUE - 2, b'x');
        value.extend_from_slice(b"\"}");
        value
    };
    (0..).map(value).take(BATCHES[BATCHES.len() - 1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_json_of_the_promised_size_with_a_label_to_make() {
        for value in values(7) {
            assert_eq!(value.len(), VALUE);
            let labelled = labelled(&value).expect("a student");
            let json: serde_json::Value = serde_json::from_slice(&labelled).expect("json");
            let name = json["name"].as_str().expect("a name");
            let roll = json["roll"].as_str().expect("a roll");
            assert_eq!(json["label"], format!("{name} ({roll})"));
        }
        assert_eq!(labelled(b"[]"), None);
    }

    #[test]
    fn a_lap_has_whole_batches_of_every_size() {
        assert!(BATCHES.iter().all(|batch| LAP.is_multiple_of(*batch)));
    }
}
