//! Servers are killed, connections cut, sinks crash and overlap: each submission still is one row.

use formline_testing::{Postgres, eventually};

use crate::{
    line::{DEADLINE, Line},
    proxy::{Fault, Proxy},
};

#[tokio::test]
async fn every_submission_is_stored_once_although_the_sink_is_killed_again_and_again() {
    let line = Line::new().await;
    let mut ids = Vec::new();
    for life in 0..5 {
        let running = line.start();
        ids.extend(line.submit_many(100).await);
        // In the middle: some submissions of this life are stored, others are not.
        let before = life * 100;
        eventually(DEADLINE, async || line.ids().await.len() > before).await;
        running.kill();
    }
    let running = line.start();
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn submissions_wait_while_postgres_is_away() {
    let mut postgres = Postgres::start_own().await;
    let line = Line::on(&postgres).await;
    let running = line.start();
    let mut ids = line.submit_many(10).await;
    line.expect(&ids).await;
    for _ in 0..3 {
        postgres.kill();
        ids.extend(line.submit_many(100).await);
        running
            .expect_stopped("postgres does not do as asked")
            .await;
        assert!(
            running.telemetry.is_ready(),
            "nobody else is to wait for it"
        );
        postgres.restart().await;
        line.expect(&ids).await;
    }
    // A sink that starts while it is away has to wait for it.
    postgres.kill();
    running.stop().await;
    let running = line.start();
    ids.extend(line.submit_many(10).await);
    running
        .expect_stopped("postgres does not do as asked")
        .await;
    postgres.restart().await;
    line.expect(&ids).await;
    running.expect_ready().await;
    running.stop().await;
}

/// Stores submissions while some commits fail.
async fn survive(fault: Fault, count: usize) {
    let mut line = Line::new().await;
    // Migrations commit, too: they are to be done.
    let running = line.start();
    let mut ids = line.submit_many(1).await;
    line.expect(&ids).await;
    running.stop().await;
    let proxy = Proxy::before(&mut line, "COMMIT", fault, count).await;
    let running = line.start();
    ids.extend(line.submit_many(200).await);
    line.expect(&ids).await;
    eventually(DEADLINE, async || proxy.left() == 0).await;
    ids.extend(line.submit_many(10).await);
    line.expect(&ids).await;
    line.expect_offsets(211).await;
    assert_eq!(line.dead_letters().await.len(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_commit_that_does_not_arrive_is_repeated() {
    survive(Fault::Lost, 2).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_repeated() {
    survive(Fault::Answer, 2).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    survive(Fault::Silence, 1).await;
}

/// A server that falls silent at a statement of the search for a bad row is given up, and the search made again.
async fn survive_silence_at(statement: &'static str) {
    let mut line = Line::new().await;
    let proxy = Proxy::before(&mut line, statement, Fault::Silence, 1).await;
    let mut ids = line.submit_many(3).await;
    line.submit("no json").await;
    let running = line.start();
    // The limits are 10 s and 30 s, and the next attempt follows soon.
    eventually(DEADLINE, async || proxy.left() == 0).await;
    running.expect_stopped("no answer in time").await;
    line.expect(&ids).await;
    ids.extend(line.submit_many(3).await);
    line.expect(&ids).await;
    assert_eq!(line.dead_letters().await.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_falls_silent_after_the_migration_is_given_up() {
    survive_silence_at("SET statement_timeout").await;
}

#[tokio::test]
async fn a_server_that_falls_silent_when_a_trial_begins_is_given_up() {
    survive_silence_at("SAVEPOINT").await;
}

#[tokio::test]
async fn a_server_that_falls_silent_when_a_part_of_a_trial_is_taken_back_is_given_up() {
    survive_silence_at("ROLLBACK TO").await;
}

#[tokio::test]
async fn a_server_that_falls_silent_when_a_part_of_a_trial_is_taken_is_given_up() {
    survive_silence_at("RELEASE SAVEPOINT").await;
}

#[tokio::test]
async fn sessions_that_the_server_ends_are_opened_again() {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.extend(line.submit_many(50).await);
        line.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    }
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn two_processes_share_the_partitions_and_take_over_from_each_other() {
    let line = Line::new().await;
    let (one, two) = (line.start_as("one"), line.start_as("two"));
    let mut ids = line.submit_many(200).await;
    line.expect(&ids).await;
    two.stop().await;
    ids.extend(line.submit_many(200).await);
    line.expect(&ids).await;
    one.stop().await;
}

#[tokio::test]
async fn who_is_overtaken_stores_nothing_and_looks_again() {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = line.submit_many(20).await;
    line.expect_offsets(20).await;
    // As an owner that Kafka has appointed meanwhile would: it stores the same submissions, and is further.
    let overtake = "UPDATE formline.sink_offsets SET next = next - 1";
    line.execute(overtake).await;
    ids.extend(line.submit_many(20).await);
    line.expect(&ids).await;
    line.expect_offsets(40).await;
    let sink = format!("{}.archive", line.app);
    let fenced =
        format!(r#"formline_postgres_transactions_total{{outcome="fenced",sink="{sink}"}}"#);
    assert!(running.metric(&fenced).await >= 1.0);
    running.stop().await;
}

#[tokio::test]
async fn the_older_of_two_processes_with_one_name_stops_and_says_why() {
    let line = Line::new().await;
    let older = line.start();
    let mut ids = line.submit_many(5).await;
    line.expect(&ids).await;
    let newer = line.start();
    older.expect_stopped("give each process its own").await;
    ids.extend(line.submit_many(5).await);
    line.expect(&ids).await;
    older.stop().await;
    newer.stop().await;
}
