//! Rows wait in a real Redis: whatever it loses, each row is written exactly once and in order.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use formline_core::{Secret, app::Buffer, settings};
use formline_testing::{Redis, RedisSet, eventually};
use jiff::SignedDuration;
use serde_json::json;

use crate::pipeline::{DEADLINE, Pipeline, any_cells, cell, now};

pub(crate) fn at(redis: &Redis) -> settings::Redis {
    settings::Redis::Server(Secret::new(redis.url()))
}

pub(crate) async fn with_redis(redis: &Redis) -> Pipeline {
    let mut pipeline = Pipeline::new().await;
    pipeline.buffer_in_redis(at(redis), true);
    pipeline
}

/// Submits `count` rows, one after another.
pub(crate) async fn submit(pipeline: &Pipeline, ids: &mut Vec<String>, count: usize) {
    for _ in 0..count {
        ids.push(pipeline.submit(now(), any_cells()).await);
    }
}

/// Waits until the sheet holds these rows, each once, in order of submission unless they are
/// flagged.
pub(crate) async fn expect_each_once(pipeline: &Pipeline, ids: &[String]) {
    let mut wanted = ids.to_vec();
    wanted.sort();
    eventually(DEADLINE, async || {
        let mut found = pipeline.ids().await;
        found.sort();
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{} of {} rows", found.len(), wanted.len()))
        }
    })
    .await;
    let sheet = pipeline.sheet().await;
    let in_time = sheet.iter().filter(|row| row[2] == "");
    let times: Vec<_> = in_time.map(|row| row[1].to_string()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// Flushes until all flushes together have written `count` rows.
pub(crate) async fn flush_until_written(pipeline: &Pipeline, count: usize) {
    let written = AtomicUsize::new(0);
    // After Redis has rejected a write, a sink may wait for half a minute before it retries.
    eventually(DEADLINE * 2, async || {
        let rows = pipeline.flush().await.unwrap();
        written.fetch_add(rows, Ordering::Relaxed) + rows == count
    })
    .await;
}

/// A Redis key of the sink.
pub(crate) fn key(pipeline: &Pipeline, name: &str) -> String {
    let spreadsheet = &pipeline.settings.spreadsheet;
    format!("{{{}:{spreadsheet}}}:{name}", pipeline.group())
}

/// The number of rows in the queue.
pub(crate) fn waiting(redis: &Redis, pipeline: &Pipeline) -> String {
    redis.ask(&["zcard", &key(pipeline, "rows")])
}

/// Submits ten rows out of order, one after another. Returns their ids in the order of their times,
/// which are `step` apart.
async fn submit_out_of_order(pipeline: &Pipeline, step: SignedDuration) -> Vec<String> {
    let begin = now();
    let mut sent = Vec::new();
    for n in [7, 2, 9, 0, 5, 1, 8, 3, 6, 4] {
        let id = pipeline.submit(begin + step * n, any_cells()).await;
        sent.push((n, id));
    }
    sent.sort();
    sent.into_iter().map(|(_, id)| id).collect()
}

#[tokio::test]
async fn rows_pass_through_redis_in_order_and_leave_nothing_behind() {
    let redis = Redis::start_own().await;
    let pipeline = with_redis(&redis).await;
    let ids = submit_out_of_order(&pipeline, SignedDuration::from_millis(10)).await;
    // All rows are in Kafka when the sink starts, so none is written before an earlier one has
    // arrived.
    let running = pipeline.start();
    pipeline.expect(&ids).await;
    assert!(pipeline.sheet().await.iter().all(|row| row[2] == ""));
    pipeline.expect_committed().await;
    assert_eq!(waiting(&redis, &pipeline), "0");
    running.stop().await;
}

#[tokio::test]
async fn rows_that_reach_a_running_sink_out_of_order_are_in_order_in_the_sheet() {
    let redis = Redis::start_own().await;
    let mut pipeline = with_redis(&redis).await;
    pipeline.settings.grace = Duration::from_secs(2);
    let running = pipeline.start();
    // Connects the producer, so that the other rows arrive within the grace.
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    running.expect_ready().await;
    // The times are so far apart that a busy machine has some more time: the last row, 4, must
    // arrive before 5 is due, half a second after the grace.
    ids.extend(submit_out_of_order(&pipeline, SignedDuration::from_millis(100)).await);
    pipeline.expect(&ids).await;
    assert!(pipeline.sheet().await.iter().all(|row| row[2] == ""));
    pipeline.expect_committed().await;
    assert_eq!(waiting(&redis, &pipeline), "0");
    running.stop().await;
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_loses_no_row() {
    let mut redis = Redis::start_own().await;
    let pipeline = with_redis(&redis).await;
    let running = pipeline.start();
    let mut ids = Vec::new();
    submit(&pipeline, &mut ids, 20).await;
    pipeline.expect(&ids).await;
    redis.kill();
    submit(&pipeline, &mut ids, 20).await;
    redis.restart_empty().await;
    submit(&pipeline, &mut ids, 5).await;
    expect_each_once(&pipeline, &ids).await;
    running.stop().await;
}

#[tokio::test]
async fn rows_of_deleted_keys_are_read_again() {
    let redis = Redis::start_own().await;
    let mut pipeline = with_redis(&redis).await;
    let mut ids = Vec::new();
    for dropped in ["payloads", "rows", "state", "offsets"] {
        pipeline.buffer_in_redis(at(&redis), false);
        let running = pipeline.start();
        submit(&pipeline, &mut ids, 10).await;
        eventually(DEADLINE, async || waiting(&redis, &pipeline) == "10").await;
        running.kill();
        let _ = redis.ask(&["del", &key(&pipeline, dropped)]);
        pipeline.buffer_in_redis(at(&redis), true);
        let running = pipeline.start();
        pipeline.expect(&ids).await;
        running.kill();
    }
}

#[tokio::test]
async fn a_job_flushes_beside_running_sinks() {
    let redis = Redis::start_own().await;
    let mut pipeline = with_redis(&redis).await;
    pipeline.buffer_in_redis(at(&redis), false);
    let running = pipeline.start();
    assert_eq!(pipeline.flush().await.unwrap(), 0, "no row waits");
    let mut ids = Vec::new();
    submit(&pipeline, &mut ids, 120).await;
    flush_until_written(&pipeline, ids.len()).await;
    pipeline.expect(&ids).await;
    pipeline.expect_committed().await;
    running.stop().await;

    // The sink and three jobs flush at once, and the checkpoints decide which one wins.
    pipeline.buffer_in_redis(at(&redis), true);
    let running = pipeline.start();
    for _ in 0..3 {
        submit(&pipeline, &mut ids, 40).await;
        let (one, two, three) = tokio::join!(pipeline.flush(), pipeline.flush(), pipeline.flush());
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
    }
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_full_queue_makes_the_sink_wait_and_loses_nothing() {
    let redis = Redis::start_own().await;
    let mut pipeline = with_redis(&redis).await;
    pipeline.buffer_in_redis(at(&redis), false);
    let running = pipeline.start();
    let mut ids = Vec::new();
    submit(&pipeline, &mut ids, 1_200).await;
    let full = key(&pipeline, "state");
    eventually(DEADLINE, async || {
        redis.ask(&["hget", &full, "full"]) == "1"
    })
    .await;
    flush_until_written(&pipeline, ids.len()).await;
    expect_each_once(&pipeline, &ids).await;
    running.stop().await;
}

#[tokio::test]
async fn large_rows_go_to_redis_and_back_a_few_at_a_time() {
    let redis = Redis::start_own().await;
    // Redis disconnects clients that send or fetch more at once.
    for (setting, bytes) in [
        ("client-query-buffer-limit", "3mb"),
        ("client-output-buffer-limit", "normal 3mb 3mb 0"),
    ] {
        assert_eq!(redis.ask(&["config", "set", setting, bytes]), "OK");
    }
    let mut pipeline = with_redis(&redis).await;
    pipeline.buffer_in_redis(at(&redis), false);
    let mut ids = Vec::new();
    // Google's limit is 50,000 characters in a cell.
    let cells: serde_json::Value = (0..12)
        .map(|column| cell(&format!("c{column}"), "x".repeat(40_000)))
        .collect();
    for _ in 0..20 {
        ids.push(pipeline.submit(now(), cells.clone()).await);
    }
    let running = pipeline.start();
    eventually(DEADLINE, async || waiting(&redis, &pipeline) == "20").await;
    pipeline.buffer_in_redis(at(&redis), true);
    let other = pipeline.start_as("two", pipeline.definition());
    expect_each_once(&pipeline, &ids).await;
    other.stop().await;
    running.stop().await;
}

#[tokio::test]
async fn rows_with_extreme_times_wait_like_any_other() {
    let redis = Redis::start_own().await;
    let mut pipeline = with_redis(&redis).await;
    pipeline.settings.hold_back = Duration::from_secs(1);
    let running = pipeline.start();
    let mut ids = Vec::new();
    for time in ["9999-12-30T00:00:00Z", "0001-01-01T00:00:00Z"] {
        ids.push(pipeline.submit(time.parse().unwrap(), any_cells()).await);
        submit(&pipeline, &mut ids, 3).await;
    }
    expect_each_once(&pipeline, &ids).await;
    pipeline.expect_committed().await;
    running.stop().await;
}

#[tokio::test]
async fn a_redis_whose_memory_is_full_can_still_be_emptied() {
    let redis = Redis::start_own().await;
    let mut pipeline = with_redis(&redis).await;
    pipeline.settings.hold_back = Duration::from_secs(1);
    pipeline.buffer_in_redis(at(&redis), false);
    let running = pipeline.start();
    let mut ids = Vec::new();
    submit(&pipeline, &mut ids, 10).await;
    eventually(DEADLINE, async || waiting(&redis, &pipeline) == "10").await;
    assert_eq!(redis.ask(&["config", "set", "maxmemory", "1"]), "OK");
    flush_until_written(&pipeline, ids.len()).await;
    assert_eq!(waiting(&redis, &pipeline), "0");
    // Rows that arrive meanwhile wait in Kafka.
    submit(&pipeline, &mut ids, 3).await;
    assert_eq!(redis.ask(&["config", "set", "maxmemory", "0"]), "OK");
    flush_until_written(&pipeline, 3).await;
    expect_each_once(&pipeline, &ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_row_that_google_rejects_is_dead_lettered_by_the_flusher() {
    let redis = Redis::start_own().await;
    let mut pipeline = with_redis(&redis).await;
    pipeline.buffer_in_redis(at(&redis), false);
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    eventually(DEADLINE, async || pipeline.flush().await.unwrap() == 1).await;
    // Hits the row, not the blank row, and the row again.
    let refuse = json!({ "kind": "refuse", "status": 400 });
    pipeline
        .inject_faults(json!([refuse, { "kind": "delay", "delay_ms": 1 }, refuse]))
        .await;
    let bad = pipeline.submit(now(), json!([cell("roll", "1")])).await;
    pipeline.submit_raw(now(), Some(b"no row")).await;
    eventually(DEADLINE, async || {
        pipeline.flush().await.unwrap();
        pipeline.dead_letters().await.len() == 2
    })
    .await;
    ids.push(pipeline.submit(now(), any_cells()).await);
    eventually(DEADLINE, async || pipeline.flush().await.unwrap() == 1).await;
    pipeline.expect(&ids).await;
    assert!(!pipeline.ids().await.contains(&bad));
    running.stop().await;
}

#[tokio::test]
async fn a_third_bad_row_in_successive_flushes_is_the_fault_of_the_sheet() {
    let redis = Redis::start_own().await;
    let mut pipeline = with_redis(&redis).await;
    pipeline.settings.batch_rows = 1;
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&ids).await;
    // Hits the row, not the blank row, the row again, and not the checkpoint of its dead letter:
    // twice, the row seems to be at fault.
    let refuse = json!({ "kind": "refuse", "status": 400 });
    let response = json!({ "kind": "delay", "delay_ms": 1 });
    let row = [&refuse, &response, &refuse, &response];
    pipeline
        .inject_faults([row, row, row].concat().into_iter().cloned().collect())
        .await;
    for _ in 0..3 {
        ids.push(pipeline.submit(now(), any_cells()).await);
    }
    eventually(DEADLINE, async || pipeline.dead_letters().await.len() == 2).await;
    // The third row is rejected once, waits, and is accepted.
    let third = [ids[0].clone(), ids[3].clone()];
    expect_each_once(&pipeline, &third).await;
    assert_eq!(pipeline.dead_letters().await.len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn rows_of_two_owners_of_a_tab_are_in_one_order() {
    let redis = Redis::start_own().await;
    let pipeline = with_redis(&redis).await;
    let running = [
        pipeline.start(),
        pipeline.start_as("two", pipeline.definition()),
    ];
    let mut ids = Vec::new();
    submit(&pipeline, &mut ids, 200).await;
    expect_each_once(&pipeline, &ids).await;
    for one in running {
        one.stop().await;
    }
}

#[tokio::test]
async fn the_sink_follows_the_redis_master_through_fail_overs() {
    let mut redis = RedisSet::start().await;
    let mut pipeline = Pipeline::new().await;
    let sentinels = settings::Sentinels {
        addresses: redis.sentinels(),
        master: RedisSet::MASTER.to_owned(),
        user: None,
        password: None,
        sentinel_password: None,
        tls: false,
    };
    pipeline.buffer_in_redis(settings::Redis::Sentinels(sentinels), true);
    let running = pipeline.start();
    let mut ids = Vec::new();
    submit(&pipeline, &mut ids, 20).await;
    expect_each_once(&pipeline, &ids).await;

    let before = redis.port();
    redis.order_fail_over().await;
    redis.wait_for_other_master(before).await;
    submit(&pipeline, &mut ids, 20).await;
    expect_each_once(&pipeline, &ids).await;

    let before = redis.port();
    redis.kill_master();
    submit(&pipeline, &mut ids, 20).await;
    redis.wait_for_other_master(before).await;
    expect_each_once(&pipeline, &ids).await;

    redis.restart_dead().await;
    let before = redis.pause_master();
    submit(&pipeline, &mut ids, 20).await;
    redis.wait_for_other_master(before).await;
    expect_each_once(&pipeline, &ids).await;
    redis.resume(before);
    submit(&pipeline, &mut ids, 20).await;
    expect_each_once(&pipeline, &ids).await;
    running.stop().await;
}

/// A user deletes the tab.
async fn delete_tab(pipeline: &Pipeline) {
    let sheet = pipeline.tab().await["sheetId"].clone();
    pipeline
        .change(json!([{ "deleteSheet": { "sheetId": sheet } }]))
        .await;
}

#[tokio::test]
async fn a_recreated_tab_gets_the_rows_of_the_deleted_one() {
    let redis = Redis::start_own().await;
    let mut pipeline = with_redis(&redis).await;
    let running = pipeline.start();
    let mut ids = Vec::new();
    submit(&pipeline, &mut ids, 5).await;
    pipeline.expect(&ids).await;
    pipeline.expect_committed().await;
    running.stop().await;
    pipeline.buffer_in_redis(at(&redis), false);
    let running = pipeline.start();
    submit(&pipeline, &mut ids, 3).await;
    eventually(DEADLINE, async || waiting(&redis, &pipeline) == "3").await;
    running.stop().await;

    delete_tab(&pipeline).await;
    let error = pipeline.flush().await.unwrap_err().to_string();
    assert!(error.contains("delete the offsets"), "{error}");
    pipeline.reset_offsets().await;
    // A job creates the tab before the sink is back, and must not take the other rows for written.
    assert_eq!(pipeline.flush().await.unwrap(), 0);
    pipeline.buffer_in_redis(at(&redis), true);
    let running = pipeline.start();
    expect_each_once(&pipeline, &ids).await;
    pipeline.expect_committed().await;
    running.stop().await;
}

#[tokio::test]
async fn a_sink_learns_from_a_job_that_its_tab_was_recreated() {
    let redis = Redis::start_own().await;
    let mut pipeline = with_redis(&redis).await;
    pipeline.buffer_in_redis(at(&redis), false);
    let running = pipeline.start();
    let mut ids = Vec::new();
    submit(&pipeline, &mut ids, 3).await;
    eventually(DEADLINE, async || waiting(&redis, &pipeline) == "3").await;
    // The group has not committed a row yet, so the job creates another tab.
    delete_tab(&pipeline).await;
    flush_until_written(&pipeline, ids.len()).await;
    expect_each_once(&pipeline, &ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_sink_without_an_address_of_redis_does_not_start() {
    let redis = Redis::start_own().await;
    let mut pipeline = with_redis(&redis).await;
    pipeline.buffer_in_redis(settings::Redis::Server(Secret::new("redis://a:b:c")), true);
    let error = pipeline.flush().await.unwrap_err().to_string();
    assert!(error.contains("address of Redis"), "{error}");
    pipeline.remove_redis();
    let error = pipeline.flush().await.unwrap_err().to_string();
    assert!(error.contains("FORMLINE_REDIS_URL"), "{error}");
    pipeline.settings.buffer = Buffer::Memory;
    let error = pipeline.flush().await.unwrap_err().to_string();
    assert!(error.contains("keeps no rows in Redis"), "{error}");
}
