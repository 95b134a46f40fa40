//! The cost of an event in the plug-in host without Kafka, and of JSON work in WebAssembly compared
//! with native code.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use formline_processors::{Bench, Candidate, Inspector};
use serde_json::json;

use super::report::{HostReport, HostRow, float, median};
use crate::{arguments::HostArgs, generator::Students, label::labelled, progress};

/// The measured batch sizes.
const BATCHES: [usize; 3] = [1, 16, 256];
/// Events per lap. It is a multiple of every batch size, and takes a few milliseconds, so that few
/// laps are interrupted by other processes.
const LAP: usize = 8192;
/// Size of a record's value in bytes.
const VALUE: usize = 300;
/// Laps before the first one that counts, in which memory grows and caches are filled.
const WARM_UP: usize = 3;

/// The plug-in with each of its three kinds of work.
struct Works {
    next: Bench,
    send: Bench,
    label: Bench,
}

/// Microseconds per event of each lap.
#[derive(Default)]
struct Laps {
    next: Vec<f64>,
    send: Vec<f64>,
    label: Vec<f64>,
    native: Vec<f64>,
}

/// Measures all batch sizes in each round. Blocks the thread.
pub(super) fn measure(
    plugin: &Path,
    seed: u32,
    options: HostArgs,
    rounds: u32,
) -> Result<HostReport> {
    let cache = tempfile::tempdir()?;
    let inspector = Inspector::open(&cache.path().join("compiled"))?;
    let candidate = inspector.load(plugin).map_err(anyhow::Error::msg)?;
    let mut works = Works::start(&candidate)?;
    let values = values(seed);
    let time = Duration::from_secs(options.seconds.into());
    let mut rows = Vec::new();
    for round in 1..=rounds {
        for batch in BATCHES {
            progress::print(&format!(
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

    /// Runs laps of all kinds in turn, so that other load on the machine affects all of them.
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

/// Runs one lap of the plug-in, which must send `sends` records for each event.
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

/// Does the same work in native code. Like in the host, the results are kept until the end of a
/// batch.
fn native(values: &[&[u8]]) -> Result<f64> {
    let started = Instant::now();
    for _ in 0..LAP / values.len() {
        let results = values.iter().map(|value| labelled(black_box(value)));
        let results: Option<Vec<_>> = results.collect();
        black_box(results.context("a student has no label")?);
    }
    Ok(per_event(started.elapsed()))
}

fn per_event(lap: Duration) -> f64 {
    lap.as_secs_f64() * 1e6 / float(LAP)
}

/// Students with an additional field that pads the value.
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
    fn every_value_is_json_of_the_expected_size_and_can_be_labelled() {
        for value in values(7) {
            assert_eq!(value.len(), VALUE);
            let labelled = labelled(&value).expect("a student");
            let json: serde_json::Value = serde_json::from_slice(&labelled).expect("valid JSON");
            let name = json["name"].as_str().expect("a name");
            let roll = json["roll"].as_str().expect("a roll");
            assert_eq!(json["label"], format!("{name} ({roll})"));
        }
        assert_eq!(labelled(b"[]"), None);
    }

    #[test]
    fn a_lap_is_a_multiple_of_every_batch_size() {
        assert!(BATCHES.iter().all(|batch| LAP.is_multiple_of(*batch)));
    }
}
