//! Rows that wait in a real Redis: whatever it loses, each comes into the sheet once and in order.

use std::sync::atomic::{AtomicUsize, Ordering};

use formline_core::{
    app::Buffer,
    settings::{self, Secret},
};
use formline_testing::{Redis, RedisSet, eventually};
use serde_json::json;

use crate::line::{DEADLINE, Line, any, cell, now};

pub(crate) fn at(redis: &Redis) -> settings::Redis {
    settings::Redis::Server(Secret::new(redis.url()))
}

pub(crate) async fn line(redis: &Redis) -> Line {
    let mut line = Line::new().await;
    line.keep_in_redis(at(redis), true);
    line
}

/// Submits some rows, one after another.
pub(crate) async fn submit(line: &Line, ids: &mut Vec<String>, count: usize) {
    for _ in 0..count {
        ids.push(line.submit(now(), any()).await);
    }
}

/// The sheet holds these rows, each once, in order of submission unless they are flagged.
pub(crate) async fn expect_each_once(line: &Line, ids: &[String]) {
    let mut wanted = ids.to_vec();
    wanted.sort();
    eventually(DEADLINE, async || {
        let mut found = line.ids().await;
        found.sort();
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{} of {} rows", found.len(), wanted.len()))
        }
    })
    .await;
    let sheet = line.sheet().await;
    let in_time = sheet.iter().filter(|row| row[2] == "");
    let times: Vec<_> = in_time.map(|row| row[1].to_string()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// Runs jobs until they have written so many rows together.
pub(crate) async fn flush_until_written(line: &Line, count: usize) {
    let written = AtomicUsize::new(0);
    // A sink that Redis has refused waits for up to half a minute before it tries again.
    eventually(DEADLINE * 2, async || {
        let rows = line.flush().await.unwrap();
        written.fetch_add(rows, Ordering::Relaxed) + rows == count
    })
    .await;
}

/// A key of the sink.
pub(crate) fn key(line: &Line, name: &str) -> String {
    let spreadsheet = &line.settings.spreadsheet;
    format!("{{{}:{spreadsheet}}}:{name}", line.group())
}

/// How many rows wait.
pub(crate) fn waiting(redis: &Redis, line: &Line) -> String {
    redis.ask(&["zcard", &key(line, "rows")])
}

#[tokio::test]
async fn rows_come_through_redis_in_order_and_leave_nothing_behind() {
    let redis = Redis::start_own().await;
    let mut line = line(&redis).await;
    // Long enough to send all rows, however busy the machine is.
    line.settings.grace = std::time::Duration::from_secs(5);
    let running = line.start();
    let begin = now();
    let mut sent = Vec::new();
    for n in [7_i64, 2, 9, 0, 5, 1, 8, 3, 6, 4] {
        let time = begin + jiff::SignedDuration::from_millis(n * 10);
        sent.push((n, line.submit(time, any()).await));
    }
    sent.sort();
    let ids: Vec<_> = sent.into_iter().map(|(_, id)| id).collect();
    line.expect(&ids).await;
    assert!(line.sheet().await.iter().all(|row| row[2] == ""));
    line.expect_committed().await;
    assert_eq!(waiting(&redis, &line), "0");
    running.stop().await;
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_costs_no_row() {
    let mut redis = Redis::start_own().await;
    let line = line(&redis).await;
    let running = line.start();
    let mut ids = Vec::new();
    submit(&line, &mut ids, 20).await;
    line.expect(&ids).await;
    redis.kill();
    submit(&line, &mut ids, 20).await;
    redis.restart_empty().await;
    submit(&line, &mut ids, 5).await;
    expect_each_once(&line, &ids).await;
    running.stop().await;
}

#[tokio::test]
async fn keys_that_redis_has_dropped_are_missed_and_read_again() {
    let redis = Redis::start_own().await;
    let mut line = line(&redis).await;
    let mut ids = Vec::new();
    for dropped in ["payloads", "rows", "state", "offsets"] {
        line.keep_in_redis(at(&redis), false);
        let running = line.start();
        submit(&line, &mut ids, 10).await;
        eventually(DEADLINE, async || waiting(&redis, &line) == "10").await;
        running.kill();
        let _ = redis.ask(&["del", &key(&line, dropped)]);
        line.keep_in_redis(at(&redis), true);
        let running = line.start();
        line.expect(&ids).await;
        running.kill();
    }
}

#[tokio::test]
async fn a_job_writes_what_is_due_beside_running_sinks() {
    let redis = Redis::start_own().await;
    let mut line = line(&redis).await;
    line.keep_in_redis(at(&redis), false);
    let running = line.start();
    assert_eq!(line.flush().await.unwrap(), 0, "nothing waits");
    let mut ids = Vec::new();
    submit(&line, &mut ids, 120).await;
    flush_until_written(&line, ids.len()).await;
    line.expect(&ids).await;
    line.expect_committed().await;
    running.stop().await;

    // The sink and three jobs at once: the marks decide.
    line.keep_in_redis(at(&redis), true);
    let running = line.start();
    for _ in 0..3 {
        submit(&line, &mut ids, 40).await;
        let (one, two, three) = tokio::join!(line.flush(), line.flush(), line.flush());
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
    }
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_full_redis_makes_the_sink_wait_and_nothing_is_lost() {
    let redis = Redis::start_own().await;
    let mut line = line(&redis).await;
    line.keep_in_redis(at(&redis), false);
    let running = line.start();
    let mut ids = Vec::new();
    submit(&line, &mut ids, 1_200).await;
    let full = key(&line, "state");
    eventually(DEADLINE, async || {
        redis.ask(&["hget", &full, "full"]) == "1"
    })
    .await;
    flush_until_written(&line, ids.len()).await;
    expect_each_once(&line, &ids).await;
    running.stop().await;
}

#[tokio::test]
async fn large_rows_go_to_redis_and_back_a_few_at_a_time() {
    let redis = Redis::start_own().await;
    // Whoever sends or fetches more at one time is thrown out.
    for (setting, bytes) in [
        ("client-query-buffer-limit", "3mb"),
        ("client-output-buffer-limit", "normal 3mb 3mb 0"),
    ] {
        assert_eq!(redis.ask(&["config", "set", setting, bytes]), "OK");
    }
    let mut line = line(&redis).await;
    line.keep_in_redis(at(&redis), false);
    let mut ids = Vec::new();
    // Google takes 50,000 characters in a cell.
    let cells: serde_json::Value = (0..12)
        .map(|column| cell(&format!("c{column}"), "x".repeat(40_000)))
        .collect();
    for _ in 0..20 {
        ids.push(line.submit(now(), cells.clone()).await);
    }
    let running = line.start();
    eventually(DEADLINE, async || waiting(&redis, &line) == "20").await;
    line.keep_in_redis(at(&redis), true);
    let other = line.start_as("two", line.definition());
    expect_each_once(&line, &ids).await;
    other.stop().await;
    running.stop().await;
}

#[tokio::test]
async fn rows_from_the_ends_of_time_wait_like_any_other() {
    let redis = Redis::start_own().await;
    let mut line = line(&redis).await;
    line.settings.hold_back = std::time::Duration::from_secs(1);
    let running = line.start();
    let mut ids = Vec::new();
    for time in ["9999-12-30T00:00:00Z", "0001-01-01T00:00:00Z"] {
        ids.push(line.submit(time.parse().unwrap(), any()).await);
        submit(&line, &mut ids, 3).await;
    }
    expect_each_once(&line, &ids).await;
    line.expect_committed().await;
    running.stop().await;
}

#[tokio::test]
async fn a_redis_whose_memory_is_full_can_still_be_emptied() {
    let redis = Redis::start_own().await;
    let mut line = line(&redis).await;
    line.settings.hold_back = std::time::Duration::from_secs(1);
    line.keep_in_redis(at(&redis), false);
    let running = line.start();
    let mut ids = Vec::new();
    submit(&line, &mut ids, 10).await;
    eventually(DEADLINE, async || waiting(&redis, &line) == "10").await;
    assert_eq!(redis.ask(&["config", "set", "maxmemory", "1"]), "OK");
    flush_until_written(&line, ids.len()).await;
    assert_eq!(waiting(&redis, &line), "0");
    // What comes meanwhile waits in Kafka.
    submit(&line, &mut ids, 3).await;
    assert_eq!(redis.ask(&["config", "set", "maxmemory", "0"]), "OK");
    flush_until_written(&line, 3).await;
    expect_each_once(&line, &ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_row_that_google_refuses_is_parked_by_whoever_flushes() {
    let redis = Redis::start_own().await;
    let mut line = line(&redis).await;
    line.keep_in_redis(at(&redis), false);
    let running = line.start();
    let mut ids = vec![line.submit(now(), any()).await];
    eventually(DEADLINE, async || line.flush().await.unwrap() == 1).await;
    // The row, not the blank one, and the row again.
    let refuse = json!({ "kind": "refuse", "status": 400 });
    line.plan(json!([refuse, { "kind": "delay", "delay_ms": 1 }, refuse]))
        .await;
    let bad = line.submit(now(), json!([cell("roll", "1")])).await;
    line.submit_raw(now(), Some(b"no row")).await;
    eventually(DEADLINE, async || {
        line.flush().await.unwrap();
        line.dead_letters().await.len() == 2
    })
    .await;
    ids.push(line.submit(now(), any()).await);
    eventually(DEADLINE, async || line.flush().await.unwrap() == 1).await;
    line.expect(&ids).await;
    assert!(!line.ids().await.contains(&bad));
    running.stop().await;
}

#[tokio::test]
async fn a_third_bad_row_in_as_many_flushes_is_the_fault_of_the_sheet() {
    let redis = Redis::start_own().await;
    let mut line = line(&redis).await;
    line.settings.batch_rows = 1;
    let running = line.start();
    let mut ids = vec![line.submit(now(), any()).await];
    line.expect(&ids).await;
    // The row, not the blank one, the row again, and not the mark that it is parked: twice it seems to be the row.
    let refuse = json!({ "kind": "refuse", "status": 400 });
    let answer = json!({ "kind": "delay", "delay_ms": 1 });
    let row = [&refuse, &answer, &refuse, &answer];
    line.plan([row, row, row].concat().into_iter().cloned().collect())
        .await;
    for _ in 0..3 {
        ids.push(line.submit(now(), any()).await);
    }
    eventually(DEADLINE, async || line.dead_letters().await.len() == 2).await;
    // The third one is refused once, waits, and is taken.
    let third = [ids[0].clone(), ids[3].clone()];
    expect_each_once(&line, &third).await;
    assert_eq!(line.dead_letters().await.len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn two_owners_of_one_tab_stand_in_one_order() {
    let redis = Redis::start_own().await;
    let line = line(&redis).await;
    let running = [line.start(), line.start_as("two", line.definition())];
    let mut ids = Vec::new();
    submit(&line, &mut ids, 200).await;
    expect_each_once(&line, &ids).await;
    for one in running {
        one.stop().await;
    }
}

#[tokio::test]
async fn the_sink_follows_the_master_wherever_it_goes() {
    let mut redis = RedisSet::start().await;
    let mut line = Line::new().await;
    let sentinels = settings::Sentinels {
        addresses: redis.sentinels(),
        master: RedisSet::MASTER.to_owned(),
        user: None,
        password: None,
        sentinel_password: None,
        tls: false,
    };
    line.keep_in_redis(settings::Redis::Sentinels(sentinels), true);
    let running = line.start();
    let mut ids = Vec::new();
    submit(&line, &mut ids, 20).await;
    expect_each_once(&line, &ids).await;

    let before = redis.port();
    redis.order_fail_over().await;
    redis.wait_for_other_master(before).await;
    submit(&line, &mut ids, 20).await;
    expect_each_once(&line, &ids).await;

    let before = redis.port();
    redis.kill_master();
    submit(&line, &mut ids, 20).await;
    redis.wait_for_other_master(before).await;
    expect_each_once(&line, &ids).await;

    redis.restart_dead().await;
    let before = redis.pause_master();
    submit(&line, &mut ids, 20).await;
    redis.wait_for_other_master(before).await;
    expect_each_once(&line, &ids).await;
    redis.resume(before);
    submit(&line, &mut ids, 20).await;
    expect_each_once(&line, &ids).await;
    running.stop().await;
}

/// A person deletes the tab.
async fn delete_tab(line: &Line) {
    let sheet = line.tab().await["sheetId"].clone();
    line.change(json!([{ "deleteSheet": { "sheetId": sheet } }]))
        .await;
}

#[tokio::test]
async fn a_tab_that_is_made_anew_gets_the_rows_that_the_deleted_one_had() {
    let redis = Redis::start_own().await;
    let mut line = line(&redis).await;
    let running = line.start();
    let mut ids = Vec::new();
    submit(&line, &mut ids, 5).await;
    line.expect(&ids).await;
    line.expect_committed().await;
    running.stop().await;
    line.keep_in_redis(at(&redis), false);
    let running = line.start();
    submit(&line, &mut ids, 3).await;
    eventually(DEADLINE, async || waiting(&redis, &line) == "3").await;
    running.stop().await;

    delete_tab(&line).await;
    let error = line.flush().await.unwrap_err().to_string();
    assert!(error.contains("delete the offsets"), "{error}");
    line.forget_offsets().await;
    // A job makes the tab before the sink is back, and must not take the rest for written.
    assert_eq!(line.flush().await.unwrap(), 0);
    line.keep_in_redis(at(&redis), true);
    let running = line.start();
    expect_each_once(&line, &ids).await;
    line.expect_committed().await;
    running.stop().await;
}

#[tokio::test]
async fn a_sink_hears_from_a_job_that_its_tab_was_made_anew() {
    let redis = Redis::start_own().await;
    let mut line = line(&redis).await;
    line.keep_in_redis(at(&redis), false);
    let running = line.start();
    let mut ids = Vec::new();
    submit(&line, &mut ids, 3).await;
    eventually(DEADLINE, async || waiting(&redis, &line) == "3").await;
    // The group has not passed a row yet, so the job makes another one.
    delete_tab(&line).await;
    flush_until_written(&line, ids.len()).await;
    expect_each_once(&line, &ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_sink_that_is_not_told_where_redis_is_does_not_start() {
    let redis = Redis::start_own().await;
    let mut line = line(&redis).await;
    line.keep_in_redis(settings::Redis::Server(Secret::new("redis://a:b:c")), true);
    let error = line.flush().await.unwrap_err().to_string();
    assert!(error.contains("address of Redis"), "{error}");
    line.forget_redis();
    let error = line.flush().await.unwrap_err().to_string();
    assert!(error.contains("FORMLINE_REDIS_URL"), "{error}");
    line.settings.buffer = Buffer::Memory;
    let error = line.flush().await.unwrap_err().to_string();
    assert!(error.contains("keeps no rows in Redis"), "{error}");
}
