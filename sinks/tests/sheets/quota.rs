//! The throughput of one sink in one spreadsheet within Google's quota per user.
//! `FORMLINE_DRILL=full` takes a minute.

use std::time::{Duration, Instant};

use formline_core::{EventId, app::Sheets};
use formline_sheets_emulator::Quota;
use formline_testing::eventually;
use futures::future::join_all;
use jiff::ToSpan;
use serde_json::{Value, json};

use crate::pipeline::{DEADLINE, Pipeline, cell, earlier, outgoing};

/// The guaranteed throughput at 60 writes a minute.
const ROWS_PER_MINUTE: f64 = 20_000.0;

/// A row of a form with a few fields.
fn cells(n: usize) -> Value {
    let names = ["name", "e-mail", "course", "year", "comment"];
    let value = |name: &str| cell(name, format!("{name} of submission {n}"));
    names.map(value).into_iter().collect()
}

/// Sends rows to the topic, a thousand at a time.
async fn submit(pipeline: &Pipeline, count: usize) {
    let begin = earlier(3_600_000);
    for first in (0..count).step_by(1_000) {
        let sent = (first..count.min(first + 1_000)).map(async |n| {
            let row = json!({ "version": 1, "form": "f", "cells": cells(n) }).to_string();
            let id = EventId::new().to_string();
            let time = begin + i64::try_from(n).unwrap().milliseconds();
            let record = outgoing(&pipeline.rows, &id, time, Some(row.as_bytes()));
            pipeline.producer.send(record).await.unwrap();
        });
        join_all(sent).await;
    }
}

#[tokio::test]
async fn twenty_thousand_rows_a_minute_within_googles_quota() {
    let full = std::env::var("FORMLINE_DRILL").is_ok_and(|length| length == "full");
    let count = if full { 70_000 } else { 8_000 };
    let mut pipeline = Pipeline::with_quota(Quota::default()).await;
    // The default settings of an app.
    pipeline.settings = Sheets {
        grace: Duration::from_millis(750),
        flush_interval: Duration::from_secs(1),
        batch_rows: 1_000,
        ..pipeline.settings
    };
    submit(&pipeline, count).await;
    let running = pipeline.start();
    let sink = format!("{}.sheet", pipeline.app);
    let written = format!(r#"formline_sink_records_total{{outcome="written",sink="{sink}"}}"#);
    let begin = Instant::now();
    let all = async || running.metric(&written).await >= count as f64;
    eventually(DEADLINE * 4, all).await;
    let seconds = begin.elapsed().as_secs_f64();
    let outcome = |name: &str| format!(r#"formline_sheets_requests_total{{outcome="{name}"}}"#);
    let calls = running.metric(&outcome("done")).await;
    let per_minute = count as f64 * 60.0 / seconds;
    println!("{count} rows in {seconds:.1} s and {calls} calls: {per_minute:.0} rows a minute");
    // The rows of one call times the calls that Google grants, however slow the machine is: all
    // rows were in Kafka before the first was due, so each write was as large as allowed. The few
    // reads are counted as well.
    assert!(
        count as f64 / calls * 50.0 >= ROWS_PER_MINUTE,
        "{calls} calls"
    );
    assert_eq!(
        running.metric(&outcome("busy")).await,
        0.0,
        "no call exceeds the quota"
    );
    if full {
        assert!(seconds >= 60.0, "the test must outlast the burst of calls");
        assert!(per_minute >= ROWS_PER_MINUTE);
    }
    running.stop().await;
}
