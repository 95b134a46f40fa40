//! `formline flush` as a scheduled job: what waits in Redis goes to its sheet, once.

use std::time::Duration;

use formline_testing::{Redis, eventually};
use serde_json::{Value, json};

use crate::line::{HELLO, Line, text};

const BUFFER: &str = "buffer = \"redis\"\nflush = \"job\"\nhold_back_ms = 1000\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_writes_what_waits_and_says_how_much() {
    let redis = Redis::start_own().await;
    let variables = vec![("FORMLINE_REDIS_URL", redis.url())];
    let line = Line::start(BUFFER, variables, |_, _| {}).await;
    let ids = [line.submit(HELLO).await, line.submit(HELLO).await];
    let under_way = json!({ "under_way": ids });
    line.verify(&[]).expect(0, &[("/sheet", 0, under_way)]);
    // Rows are due once it is known that no earlier one comes.
    let mut written = 0;
    while written < ids.len() as u64 {
        let told = line.ask_flush(&["--sink", "sheet", "--json"]);
        assert_eq!(told.status.code(), Some(0), "{}", text(&told));
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        assert_eq!(told["sink"], format!("{}/sheet", line.name));
        written += told["rows"].as_u64().unwrap();
    }
    line.verify_at_rest().expect(0, &[("/sheet", 2, json!({}))]);
    let told = line.ask_flush(&["--sink", "sheet"]);
    let nothing = format!("{}/sheet: 0 rows written\n", line.name);
    assert_eq!(String::from_utf8_lossy(&told.stdout), nothing);
    let refused = line.ask_flush(&["--sink", "nope"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("no app has a sink `nope`"),
        "{}",
        text(&refused)
    );
}

/// Waits until so many rows wait in Redis.
async fn expect_waiting(redis: &Redis, count: usize) {
    eventually(Duration::from_secs(60), async || {
        let rows = redis.ask(&["keys", "*:rows"]);
        redis.ask(&["zcard", &rows]) == count.to_string()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_though_nobody_answers_and_the_rows_stay() {
    let redis = Redis::start_own().await;
    let variables = vec![("FORMLINE_REDIS_URL", redis.url())];
    let line = Line::start(BUFFER, variables, |_, _| {}).await;
    line.submit(HELLO).await;
    expect_waiting(&redis, 1).await;
    line.stop_emulator();
    let refused = line.ask_flush(&["--sink", "sheet", "--timeout", "2s", "--json"]);
    assert_eq!(refused.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(told["rows"], 0);
    let why = told["error"].as_str().unwrap();
    assert!(why.contains("within 2s"), "{why}");
    assert!(text(&refused).contains(why), "{}", text(&refused));

    let mut job = line.start_flush(&["--sink", "sheet"]);
    eventually(Duration::from_secs(60), async || {
        let log = job.log();
        log.contains("google sheets does not do as asked")
            .then_some(())
            .ok_or(log)
    })
    .await;
    let ended = job.terminate().await;
    assert_eq!(ended.code(), Some(0), "{}", job.log());
    assert!(job.log().contains("0 rows written"), "{}", job.log());

    expect_waiting(&redis, 1).await;
    line.start_emulator();
    let told = line.ask_flush(&["--sink", "sheet"]);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told));
    line.verify_at_rest().expect(0, &[("/sheet", 1, json!({}))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_redis_does_not_let_in_says_so_at_once() {
    let redis = Redis::start_own().await;
    let variables = vec![("FORMLINE_REDIS_URL", redis.url())];
    let mut line = Line::start(BUFFER, variables, |_, _| {}).await;
    line.set(
        "FORMLINE_REDIS_URL",
        redis.url().replace("//", "//nobody:wrong@"),
    );
    let refused = line.ask_flush(&["--sink", "sheet"]);
    assert_eq!(refused.status.code(), Some(1));
    let told = text(&refused);
    assert!(told.contains("redis does not let us in"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_nothing_to_do_with_rows_in_a_sink_s_memory() {
    let line = Line::start("", Vec::new(), |_, _| {}).await;
    let refused = line.ask_flush(&["--sink", "sheet"]);
    assert_eq!(refused.status.code(), Some(1));
    let told = text(&refused);
    assert!(told.contains("keeps no rows in Redis"), "{told}");
}
