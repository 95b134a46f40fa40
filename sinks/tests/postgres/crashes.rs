//! Servers are killed, connections cut, sinks crash and overlap: each submission is still one row.

use formline_testing::{Postgres, eventually};

use crate::{
    pipeline::{DEADLINE, Pipeline},
    proxy::{Fault, Proxy},
};

#[tokio::test]
async fn every_submission_is_stored_once_although_the_sink_is_killed_repeatedly() {
    let pipeline = Pipeline::new().await;
    let mut ids = Vec::new();
    for run in 0..5 {
        let running = pipeline.start();
        ids.extend(pipeline.submit_many(100).await);
        // Some submissions of this run are stored, others are not.
        let before = run * 100;
        eventually(DEADLINE, async || pipeline.ids().await.len() > before).await;
        running.kill();
    }
    let running = pipeline.start();
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn submissions_wait_while_postgres_is_unavailable() {
    let mut postgres = Postgres::start_own().await;
    let pipeline = Pipeline::on(&postgres).await;
    let running = pipeline.start();
    let mut ids = pipeline.submit_many(10).await;
    pipeline.expect(&ids).await;
    for _ in 0..3 {
        postgres.kill();
        ids.extend(pipeline.submit_many(100).await);
        running.expect_stopped("postgres failed").await;
        assert!(running.telemetry.is_ready(), "the process stays ready");
        postgres.restart().await;
        pipeline.expect(&ids).await;
    }
    // A sink that starts while PostgreSQL is unavailable waits for it.
    postgres.kill();
    running.stop().await;
    let running = pipeline.start();
    ids.extend(pipeline.submit_many(10).await);
    running.expect_stopped("postgres failed").await;
    postgres.restart().await;
    pipeline.expect(&ids).await;
    running.expect_ready().await;
    running.stop().await;
}

/// Stores submissions while some commits fail.
async fn survive(fault: Fault, count: usize) {
    let mut pipeline = Pipeline::new().await;
    // Migrations commit, too, so they must be done before.
    let running = pipeline.start();
    let mut ids = pipeline.submit_many(1).await;
    pipeline.expect(&ids).await;
    running.stop().await;
    let proxy = Proxy::before(&mut pipeline, "COMMIT", fault, count).await;
    let running = pipeline.start();
    ids.extend(pipeline.submit_many(200).await);
    pipeline.expect(&ids).await;
    eventually(DEADLINE, async || proxy.left() == 0).await;
    ids.extend(pipeline.submit_many(10).await);
    pipeline.expect(&ids).await;
    pipeline.expect_offsets(211).await;
    assert_eq!(pipeline.dead_letters().await.len(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_lost_commit_is_repeated() {
    survive(Fault::Request, 2).await;
}

#[tokio::test]
async fn a_commit_whose_response_is_lost_is_not_repeated() {
    survive(Fault::Response, 2).await;
}

#[tokio::test]
async fn a_connection_that_hangs_is_closed() {
    survive(Fault::Hang, 1).await;
}

/// If the connection hangs at a statement of the search for a bad row, it is closed, and the search
/// is repeated.
async fn survive_hang_at(statement: &'static str) {
    let mut pipeline = Pipeline::new().await;
    let proxy = Proxy::before(&mut pipeline, statement, Fault::Hang, 1).await;
    let mut ids = pipeline.submit_many(3).await;
    pipeline.submit("not json").await;
    let running = pipeline.start();
    // The time limits are 10 s and 30 s, and the next attempt follows soon.
    eventually(DEADLINE, async || proxy.left() == 0).await;
    running.expect_stopped("no answer in time").await;
    pipeline.expect(&ids).await;
    ids.extend(pipeline.submit_many(3).await);
    pipeline.expect(&ids).await;
    assert_eq!(pipeline.dead_letters().await.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_hangs_after_the_migration_is_closed() {
    survive_hang_at("SET statement_timeout").await;
}

#[tokio::test]
async fn a_connection_that_hangs_at_a_savepoint_is_closed() {
    survive_hang_at("SAVEPOINT").await;
}

#[tokio::test]
async fn a_connection_that_hangs_at_a_rollback_to_a_savepoint_is_closed() {
    survive_hang_at("ROLLBACK TO").await;
}

#[tokio::test]
async fn a_connection_that_hangs_at_the_release_of_a_savepoint_is_closed() {
    survive_hang_at("RELEASE SAVEPOINT").await;
}

#[tokio::test]
async fn connections_that_the_server_terminates_are_reopened() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.extend(pipeline.submit_many(50).await);
        pipeline
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
    }
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn two_processes_share_the_partitions_and_take_over_from_each_other() {
    let pipeline = Pipeline::new().await;
    let (one, two) = (pipeline.start_as("one"), pipeline.start_as("two"));
    let mut ids = pipeline.submit_many(200).await;
    pipeline.expect(&ids).await;
    two.stop().await;
    ids.extend(pipeline.submit_many(200).await);
    pipeline.expect(&ids).await;
    one.stop().await;
}

#[tokio::test]
async fn a_fenced_sink_stores_nothing_and_reads_the_offsets_again() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let mut ids = pipeline.submit_many(20).await;
    pipeline.expect_offsets(20).await;
    // The effect of a new owner of the partitions that stores the same submissions faster.
    let fence = "UPDATE formline.sink_offsets SET next = next - 1";
    pipeline.execute(fence).await;
    ids.extend(pipeline.submit_many(20).await);
    pipeline.expect(&ids).await;
    pipeline.expect_offsets(40).await;
    let sink = format!("{}.archive", pipeline.app);
    let fenced =
        format!(r#"formline_postgres_transactions_total{{outcome="fenced",sink="{sink}"}}"#);
    assert!(running.metric(&fenced).await >= 1.0);
    running.stop().await;
}

#[tokio::test]
async fn the_older_of_two_processes_with_one_name_stops_with_a_reason() {
    let pipeline = Pipeline::new().await;
    let older = pipeline.start();
    let mut ids = pipeline.submit_many(5).await;
    pipeline.expect(&ids).await;
    let newer = pipeline.start();
    older.expect_stopped("give each process its own").await;
    ids.extend(pipeline.submit_many(5).await);
    pipeline.expect(&ids).await;
    older.stop().await;
    newer.stop().await;
}
