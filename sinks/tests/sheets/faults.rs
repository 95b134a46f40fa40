//! Google refuses, answers nonsense, or says nothing: each row still stands once.

use std::time::Duration;

use formline_testing::{eventually, kafka};
use serde_json::{Value, json};

use crate::line::{DEADLINE, Line, any, now};

/// Writes rows while each of the faults happens to one write.
async fn survive(faults: &[Value]) {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = vec![line.submit(now(), any()).await];
    line.expect(&ids).await;
    for fault in faults {
        line.plan(json!([fault])).await;
        ids.push(line.submit(now(), any()).await);
        line.expect(&ids).await;
        eventually(DEADLINE, async || line.planned().await == 0).await;
    }
    ids.push(line.submit(now(), any()).await);
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn writes_that_are_refused_are_sent_again() {
    let refuse = |status: u16| json!({ "kind": "refuse", "status": status });
    survive(&[
        refuse(503),
        refuse(500),
        refuse(429),
        refuse(401),
        refuse(403),
        refuse(404),
    ])
    .await;
}

#[tokio::test]
async fn writes_whose_answer_is_lost_are_not_repeated() {
    survive(&[
        json!({ "kind": "apply_then_status", "status": 500 }),
        json!({ "kind": "apply_then_status", "status": 503 }),
        json!({ "kind": "apply_then_status", "status": 429 }),
        json!({ "kind": "apply_then_status", "status": 400 }),
        json!({ "kind": "apply_then_cut" }),
        json!({ "kind": "apply_twice" }),
    ])
    .await;
}

#[tokio::test]
async fn writes_without_an_answer_are_settled() {
    survive(&[
        json!({ "kind": "hang" }),
        json!({ "kind": "apply_then_hang" }),
    ])
    .await;
}

/// A write whose outcome is unknown, and a search for the mark that would tell, which fails in this way, too.
async fn survive_a_search_that_fails(search: Value) {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = vec![line.submit(now(), any()).await];
    line.expect(&ids).await;
    for write in ["refuse", "apply_then_status", "apply_then_cut"] {
        line.plan(json!([{ "kind": write }, search])).await;
        ids.push(line.submit(now(), any()).await);
        eventually(DEADLINE, async || line.planned().await == 0).await;
        line.expect(&ids).await;
    }
    ids.push(line.submit(now(), any()).await);
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_search_for_the_mark_that_is_refused_is_made_again() {
    survive_a_search_that_fails(json!({ "kind": "refuse", "on": "read", "times": 2 })).await;
    survive_a_search_that_fails(json!({ "kind": "refuse", "on": "read", "status": 429 })).await;
}

#[tokio::test]
async fn a_search_for_the_mark_whose_answer_breaks_off_is_made_again() {
    survive_a_search_that_fails(json!({ "kind": "apply_then_cut", "on": "read" })).await;
}

#[tokio::test]
async fn a_search_for_the_mark_without_an_answer_is_made_again() {
    survive_a_search_that_fails(json!({ "kind": "hang", "on": "read" })).await;
}

#[tokio::test]
async fn a_start_whose_questions_fail_asks_again() {
    let line = Line::new().await;
    let faults = json!([
        { "kind": "refuse", "on": "read", "status": 403 },
        { "kind": "apply_then_cut", "on": "read", "times": 2 },
        { "kind": "delay", "on": "read", "delay_ms": 300 },
        { "kind": "refuse", "on": "read", "status": 429 },
    ]);
    line.plan(faults).await;
    let running = line.start();
    // The sink asks alone until the faults are used up.
    eventually(DEADLINE, async || line.planned().await == 0).await;
    let id = line.submit(now(), any()).await;
    line.expect(&[id]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_write_that_is_applied_after_everybody_gave_up_is_not_applied_twice() {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = vec![line.submit(now(), any()).await];
    line.expect(&ids).await;
    // The sink gives up on the emulator after 10 s and sends again; then the first one arrives.
    line.plan(json!([{ "kind": "delay", "delay_ms": 14_000 }]))
        .await;
    let planned = std::time::Instant::now();
    ids.push(line.submit(now(), any()).await);
    line.expect(&ids).await;
    assert!(
        planned.elapsed() > Duration::from_secs(10),
        "the delay has hit the write"
    );
    let arrived = async || planned.elapsed() > Duration::from_secs(16);
    eventually(DEADLINE, arrived).await;
    ids.push(line.submit(now(), any()).await);
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn many_faults_among_many_rows() {
    let line = Line::new().await;
    let running = line.start();
    let kinds = ["refuse", "apply_then_status", "apply_then_cut"];
    let faults: Vec<_> = (0..12).map(|n| json!({ "kind": kinds[n % 3] })).collect();
    line.plan(faults.into()).await;
    let mut ids = Vec::new();
    for _ in 0..200 {
        ids.push(line.submit(now(), any()).await);
    }
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn rows_wait_while_google_is_away() {
    let mut line = Line::new().await;
    let running = line.start();
    let mut ids = vec![line.submit(now(), any()).await];
    line.expect(&ids).await;
    line.emulated.stop().await;
    for _ in 0..20 {
        ids.push(line.submit(now(), any()).await);
    }
    let unknown = r#"formline_sheets_requests_total{outcome="unknown"}"#;
    eventually(DEADLINE, async || running.metric(unknown).await > 1.0).await;
    assert!(
        running.telemetry.is_ready(),
        "nobody else is to wait for google"
    );
    line.emulated.restart().await;
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn rows_go_on_after_kafka_was_away() {
    let mut kafka = formline_testing::Kafka::start_own().await;
    let line = Line::on(&kafka, "1048576").await;
    let running = line.start();
    let mut ids = vec![line.submit(now(), any()).await];
    line.expect(&ids).await;
    kafka.kill();
    kafka.restart().await;
    for _ in 0..5 {
        ids.push(line.submit(now(), any()).await);
    }
    line.expect(&ids).await;
    // A sink that starts while Kafka is away has to wait for it.
    kafka.kill();
    running.kill();
    let running = line.start();
    kafka.restart().await;
    ids.push(line.submit(now(), any()).await);
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_parked_stops_the_sink() {
    let line = Line::on(kafka().await, "100").await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    line.expect(&[id]).await;
    line.submit_raw(now(), Some(b"no row")).await;
    running.expect_stopped("does not take a record").await;
    running.stop().await;
}
