//! Short runs of the parts of the bench: they succeed, and their figures are plausible. Performance
//! is not tested.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;

use formline_testing::{Process, kafka, plugins_dir};
use serde_json::Value;

/// Runs a part of the bench for one round, and returns its report.
async fn report(part: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_formline-loadtest"));
    bench
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .arg("bench")
        .args(part);
    bench.args(["--rounds", "1", "--json"]).arg(&file);
    let mut bench = Process::spawn(&mut bench);
    assert!(bench.wait().await.success(), "{}", bench.log());
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn figure(row: &Value, name: &str) -> f64 {
    row[name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} in {row}"))
}

#[tokio::test]
async fn the_host_is_measured_with_each_batch_size() {
    let report = report(&["host", "--seconds", "1"]).await;
    assert!(report["kafka"].is_null(), "the host needs no Kafka");
    let rows = report["host"]["rows"].as_array().unwrap();
    let batches: Vec<_> = rows.iter().map(|row| &row["batch"]).collect();
    assert_eq!(batches, [1, 16, 256]);
    // The figures are not compared with each other: one second is too short on a busy machine.
    for row in rows {
        for work in ["next_us", "send_us", "label_us", "native_us"] {
            let microseconds = figure(row, work);
            assert!(microseconds > 0.0 && microseconds < 1e6, "{work} in {row}");
        }
    }
    assert_eq!(report["aims"].as_array().unwrap().len(), 2);
}

/// Uses the `formline` in the folder of the bench, which every build of the workspace's tests
/// creates.
#[tokio::test]
async fn a_saturated_step_and_its_bare_loop_copy_all_events_exactly_once() {
    let report = report_in_kafka(&["saturated", "--events", "40000"]).await;
    assert_measurements(&report["saturated"]["rows"], 40_000.0, &["steps"]);
}

#[tokio::test]
async fn the_postgres_sink_and_its_bare_loop_store_all_rows_exactly_once() {
    let report = report_in_kafka(&["postgres", "--rows", "20000"]).await;
    assert_measurements(&report["postgres"]["rows"], 20_000.0, &["sink", "postgres"]);
    assert_eq!(report["aims"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_sheets_sink_writes_every_row_once_and_in_order() {
    let report = report_in_kafka(&["sheets", "--rows", "5000"]).await;
    let sheets = &report["sheets"];
    for violation in ["lost", "doubled", "disordered"] {
        assert_eq!(sheets[violation], 0, "{sheets}");
    }
    assert!(figure(sheets, "rows_per_minute") > 1.0, "{sheets}");
    assert!(figure(&sheets["cpu_us"], "sink") > 0.0, "{sheets}");
}

async fn report_in_kafka(part: &[&str]) -> Value {
    let plugins = plugins_dir().to_str().unwrap();
    let bootstrap = kafka().await.bootstrap();
    let options = ["--bootstrap", bootstrap, "--plugins", plugins];
    report(&[part, &options].concat()).await
}

/// Asserts that there is one round in which both sides processed all records.
fn assert_measurements(rows: &Value, max_events: f64, processes: &[&str]) {
    let rows = rows.as_array().unwrap();
    let sides: Vec<_> = rows.iter().map(|row| &row["side"]).collect();
    assert_eq!(sides, ["formline", "bare"]);
    for row in rows {
        assert_eq!((&row["lost"], &row["doubled"]), (&0.into(), &0.into()));
        let events = figure(row, "events");
        assert!((1.0..=max_events).contains(&events), "{row}");
        assert!(figure(row, "events_per_second") > 0.0, "{row}");
        for process in processes {
            assert!(figure(&row["cpu_us"], process) > 0.0, "{row}");
        }
    }
}
