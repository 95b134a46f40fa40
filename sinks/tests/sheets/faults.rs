//! Google fails, returns nonsense, or does not respond: each row is still written exactly once.

use std::time::Duration;

use formline_testing::{eventually, kafka};
use serde_json::{Value, json};

use crate::pipeline::{CALL_TIMEOUT, DEADLINE, Pipeline, any_cells, now};

/// Writes rows while each of the faults hits one write.
async fn survive(pipeline: Pipeline, faults: &[Value]) {
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&ids).await;
    for fault in faults {
        pipeline.inject_faults(json!([fault])).await;
        ids.push(pipeline.submit(now(), any_cells()).await);
        pipeline.expect(&ids).await;
        eventually(DEADLINE, async || pipeline.pending_faults().await == 0).await;
    }
    ids.push(pipeline.submit(now(), any_cells()).await);
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn failed_writes_are_sent_again() {
    let refuse = |status: u16| json!({ "kind": "refuse", "status": status });
    survive(
        Pipeline::new().await,
        &[
            refuse(503),
            refuse(500),
            refuse(429),
            refuse(401),
            refuse(403),
            refuse(404),
        ],
    )
    .await;
}

#[tokio::test]
async fn writes_whose_response_is_lost_are_not_repeated() {
    survive(
        Pipeline::new().await,
        &[
            json!({ "kind": "apply_then_status", "status": 500 }),
            json!({ "kind": "apply_then_status", "status": 503 }),
            json!({ "kind": "apply_then_status", "status": 429 }),
            json!({ "kind": "apply_then_status", "status": 400 }),
            json!({ "kind": "apply_then_cut" }),
            json!({ "kind": "apply_twice" }),
        ],
    )
    .await;
}

#[tokio::test]
async fn writes_without_a_response_are_resolved() {
    survive(
        Pipeline::impatient().await,
        &[
            json!({ "kind": "hang" }),
            json!({ "kind": "apply_then_hang" }),
        ],
    )
    .await;
}

/// A write whose outcome is unknown, followed by a failing read of the checkpoint that would
/// resolve it.
async fn survive_a_failing_read(search: Value) {
    let pipeline = Pipeline::impatient().await;
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&ids).await;
    for write in ["refuse", "apply_then_status", "apply_then_cut"] {
        pipeline
            .inject_faults(json!([{ "kind": write }, search]))
            .await;
        ids.push(pipeline.submit(now(), any_cells()).await);
        eventually(DEADLINE, async || pipeline.pending_faults().await == 0).await;
        pipeline.expect(&ids).await;
    }
    ids.push(pipeline.submit(now(), any_cells()).await);
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_failed_read_of_the_checkpoint_is_retried() {
    survive_a_failing_read(json!({ "kind": "refuse", "on": "read", "times": 2 })).await;
    survive_a_failing_read(json!({ "kind": "refuse", "on": "read", "status": 429 })).await;
}

#[tokio::test]
async fn a_read_of_the_checkpoint_whose_response_breaks_off_is_retried() {
    survive_a_failing_read(json!({ "kind": "apply_then_cut", "on": "read" })).await;
}

#[tokio::test]
async fn a_read_of_the_checkpoint_without_a_response_is_retried() {
    survive_a_failing_read(json!({ "kind": "hang", "on": "read" })).await;
}

#[tokio::test]
async fn failing_reads_during_the_start_are_retried() {
    let pipeline = Pipeline::new().await;
    let faults = json!([
        { "kind": "refuse", "on": "read", "status": 403 },
        { "kind": "apply_then_cut", "on": "read", "times": 2 },
        { "kind": "delay", "on": "read", "delay_ms": 300 },
        { "kind": "refuse", "on": "read", "status": 429 },
    ]);
    pipeline.inject_faults(faults).await;
    let running = pipeline.start();
    // Only the sink calls the emulator until the faults are used up.
    eventually(DEADLINE, async || pipeline.pending_faults().await == 0).await;
    let id = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(&[id]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_write_that_is_applied_after_its_timeout_is_not_applied_twice() {
    let pipeline = Pipeline::impatient().await;
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&ids).await;
    // The sink gives up on the call after its timeout and sends the batch again; then the first one
    // arrives.
    pipeline
        .inject_faults(json!([{ "kind": "delay", "delay_ms": 5_000 }]))
        .await;
    let planned = std::time::Instant::now();
    ids.push(pipeline.submit(now(), any_cells()).await);
    pipeline.expect(&ids).await;
    assert!(
        planned.elapsed() > CALL_TIMEOUT,
        "the delay must hit the write"
    );
    let arrived = async || planned.elapsed() > Duration::from_secs(7);
    eventually(DEADLINE, arrived).await;
    ids.push(pipeline.submit(now(), any_cells()).await);
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn many_faults_among_many_rows() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let kinds = ["refuse", "apply_then_status", "apply_then_cut"];
    let faults: Vec<_> = (0..12).map(|n| json!({ "kind": kinds[n % 3] })).collect();
    pipeline.inject_faults(faults.into()).await;
    let mut ids = Vec::new();
    for _ in 0..200 {
        ids.push(pipeline.submit(now(), any_cells()).await);
    }
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn rows_wait_while_google_is_unavailable() {
    let mut pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&ids).await;
    pipeline.google_server.stop().await;
    for _ in 0..20 {
        ids.push(pipeline.submit(now(), any_cells()).await);
    }
    let unknown = r#"formline_sheets_requests_total{outcome="unknown"}"#;
    eventually(DEADLINE, async || running.metric(unknown).await > 1.0).await;
    assert!(
        running.telemetry.is_ready(),
        "other sinks do not wait for google"
    );
    pipeline.google_server.restart().await;
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn rows_continue_after_kafka_was_unavailable() {
    let mut kafka = formline_testing::Kafka::start_own().await;
    let pipeline = Pipeline::on(&kafka, "1048576").await;
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&ids).await;
    kafka.kill();
    kafka.restart().await;
    for _ in 0..5 {
        ids.push(pipeline.submit(now(), any_cells()).await);
    }
    pipeline.expect(&ids).await;
    // A sink that starts while Kafka is unavailable waits for it.
    kafka.kill();
    running.kill();
    let running = pipeline.start();
    kafka.restart().await;
    ids.push(pipeline.submit(now(), any_cells()).await);
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_dead_letter_that_kafka_rejects_stops_the_sink() {
    let pipeline = Pipeline::on(kafka().await, "100").await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(&[id]).await;
    pipeline.submit_raw(now(), Some(b"no row")).await;
    running.expect_stopped("does not accept a record").await;
    running.stop().await;
}
