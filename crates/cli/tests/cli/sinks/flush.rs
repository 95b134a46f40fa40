//! `formline flush` as a scheduled job: it writes each buffered row once.

use std::time::Duration;

use formline_testing::{Redis, eventually};
use serde_json::{Value, json};

use super::pipeline::{HELLO, Pipeline};
use crate::support::{assert_contains, output_text};

const BUFFER: &str = "buffer = \"redis\"\nflush = \"job\"\nhold_back_ms = 1000\n";

/// A pipeline whose sheets sink buffers in this Redis and writes only when a job flushes it.
async fn start(redis: &Redis) -> Pipeline {
    let variables = vec![("FORMLINE_REDIS_URL", redis.url())];
    Pipeline::start(BUFFER, variables, |_| {}).await
}

/// Waits until Redis buffers this number of rows.
async fn wait_for_buffered(redis: &Redis, count: usize) {
    eventually(Duration::from_secs(60), async || {
        let rows = redis.ask(&["keys", "*:rows"]);
        redis.ask(&["zcard", &rows]) == count.to_string()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_writes_the_buffered_rows_and_prints_their_number() {
    let redis = Redis::start_own().await;
    let pipeline = start(&redis).await;
    let ids = [pipeline.submit(HELLO).await, pipeline.submit(HELLO).await];
    let under_way = json!({ "under_way": ids });
    pipeline.verify(&[]).assert(0, &[("/sheet", 0, under_way)]);
    // Rows are due once no earlier one can arrive.
    let mut written = 0;
    while written < ids.len() as u64 {
        let flushed = pipeline.run_flush(&["--sink", "sheet", "--json"]);
        assert_eq!(flushed.status.code(), Some(0), "{}", output_text(&flushed));
        let result: Value = serde_json::from_slice(&flushed.stdout).unwrap();
        assert_eq!(result["sink"], format!("{}/sheet", pipeline.name));
        written += result["rows"].as_u64().unwrap();
    }
    pipeline
        .verify_at_rest()
        .assert(0, &[("/sheet", 2, json!({}))]);
    let flushed = pipeline.run_flush(&["--sink", "sheet"]);
    let nothing = format!("{}/sheet: 0 rows written\n", pipeline.name);
    assert_eq!(String::from_utf8_lossy(&flushed.stdout), nothing);
    let rejected = pipeline.run_flush(&["--sink", "nope"]);
    assert_eq!(rejected.status.code(), Some(1));
    assert_contains(&output_text(&rejected), &["no app has a sink `nope`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_while_the_sheet_is_unreachable_and_the_rows_stay() {
    let redis = Redis::start_own().await;
    let pipeline = start(&redis).await;
    pipeline.submit(HELLO).await;
    wait_for_buffered(&redis, 1).await;
    pipeline.stop_emulator();
    let failed = pipeline.run_flush(&["--sink", "sheet", "--timeout", "2s", "--json"]);
    assert_eq!(failed.status.code(), Some(1));
    let result: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(result["rows"], 0);
    let error = result["error"].as_str().unwrap();
    assert_contains(error, &["within 2s"]);
    assert_contains(&output_text(&failed), &[error]);

    let mut job = pipeline.start_flush(&["--sink", "sheet"]);
    eventually(Duration::from_secs(60), async || {
        let log = job.log();
        log.contains("google sheets fails").then_some(()).ok_or(log)
    })
    .await;
    let status = job.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", job.log());
    assert_contains(&job.log(), &["0 rows written"]);

    wait_for_buffered(&redis, 1).await;
    pipeline.start_emulator();
    let flushed = pipeline.run_flush(&["--sink", "sheet"]);
    assert_eq!(flushed.status.code(), Some(0), "{}", output_text(&flushed));
    pipeline
        .verify_at_rest()
        .assert(0, &[("/sheet", 1, json!({}))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_fails_at_once_if_redis_rejects_its_credentials() {
    let redis = Redis::start_own().await;
    let mut pipeline = start(&redis).await;
    let url = redis.url().replace("//", "//nobody:wrong@");
    pipeline.set("FORMLINE_REDIS_URL", url);
    let failed = pipeline.run_flush(&["--sink", "sheet"]);
    assert_eq!(failed.status.code(), Some(1));
    assert_contains(&output_text(&failed), &["redis denies access"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_rejects_a_sink_that_buffers_in_memory() {
    let pipeline = Pipeline::start("", Vec::new(), |_| {}).await;
    let rejected = pipeline.run_flush(&["--sink", "sheet"]);
    assert_eq!(rejected.status.code(), Some(1));
    assert_contains(&output_text(&rejected), &["keeps no rows in Redis"]);
}
