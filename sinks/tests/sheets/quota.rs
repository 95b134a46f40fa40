//! What one sink brings into one spreadsheet within Google's quota of a user. `FORMLINE_DRILL=full` takes a minute.

use std::time::{Duration, Instant};

use formline_core::{EventId, app::Sheets};
use formline_sheets_emulator::Quota;
use formline_testing::eventually;
use futures::future::join_all;
use jiff::ToSpan;
use serde_json::{Value, json};

use crate::line::{DEADLINE, Line, cell, earlier, outgoing};

/// What is promised at 60 writes a minute.
const ROWS_PER_MINUTE: f64 = 20_000.0;

/// A row of a form with some fields.
fn cells(n: usize) -> Value {
    let names = ["name", "e-mail", "course", "year", "comment"];
    let value = |name: &str| cell(name, format!("{name} of submission {n}"));
    names.map(value).into_iter().collect()
}

/// Puts rows on the topic, a thousand at a time.
async fn submit(line: &Line, count: usize) {
    let begin = earlier(3_600_000);
    for first in (0..count).step_by(1_000) {
        let sent = (first..count.min(first + 1_000)).map(async |n| {
            let row = json!({ "version": 1, "form": "f", "cells": cells(n) }).to_string();
            let id = EventId::new().to_string();
            let time = begin + i64::try_from(n).unwrap().milliseconds();
            let record = outgoing(&line.rows, &id, time, Some(row.as_bytes()));
            line.producer.send(record).await.unwrap();
        });
        join_all(sent).await;
    }
}

#[tokio::test]
async fn twenty_thousand_rows_a_minute_within_googles_quota() {
    let full = std::env::var("FORMLINE_DRILL").is_ok_and(|length| length == "full");
    let count = if full { 70_000 } else { 8_000 };
    let mut line = Line::with_quota(Quota::default()).await;
    // As an app has them that says nothing about it.
    line.settings = Sheets {
        grace: Duration::from_millis(750),
        flush_interval: Duration::from_secs(1),
        batch_rows: 1_000,
        ..line.settings
    };
    submit(&line, count).await;
    let running = line.start();
    let sink = format!("{}.sheet", line.app);
    let written = format!(r#"formline_sink_records_total{{outcome="written",sink="{sink}"}}"#);
    let begin = Instant::now();
    let all = async || running.metric(&written).await >= count as f64;
    eventually(DEADLINE * 4, all).await;
    let seconds = begin.elapsed().as_secs_f64();
    let outcome = |name: &str| format!(r#"formline_sheets_requests_total{{outcome="{name}"}}"#);
    let calls = running.metric(&outcome("done")).await;
    let per_minute = count as f64 * 60.0 / seconds;
    println!("{count} rows in {seconds:.1} s and {calls} calls: {per_minute:.0} rows a minute");
    // The rows of a call times the calls that Google grants, however slow the machine is: all rows were there before the
    // first could be due, so that each write had as many as it may have. The few reads are counted with them.
    assert!(
        count as f64 / calls * 50.0 >= ROWS_PER_MINUTE,
        "{calls} calls"
    );
    assert_eq!(
        running.metric(&outcome("busy")).await,
        0.0,
        "no call too many"
    );
    if full {
        assert!(
            seconds >= 60.0,
            "it has to be more than the calls saved up before"
        );
        assert!(per_minute >= ROWS_PER_MINUTE);
    }
    running.stop().await;
}
