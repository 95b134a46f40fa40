//! Crashes: no deferred record is lost, and a call that the receiver has accepted is not repeated.

use std::time::Duration;

use formline_testing::{Kafka, Reply, eventually};

use crate::pipeline::{DEADLINE, HOUR, Pipeline};

#[tokio::test]
async fn a_deferred_record_is_delivered_after_a_restart() {
    let pipeline = Pipeline::new(&[Duration::from_secs(3)]).await;
    pipeline.receiver.script(&[Reply::Status(500)]);
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    pipeline.expect_deferred(&[(0, 1)]).await;
    running.kill();
    let running = pipeline.start();
    pipeline.expect(std::slice::from_ref(&id)).await;
    running.stop().await;
}

#[tokio::test]
async fn a_stopping_sink_does_not_wait_for_deferred_records() {
    let pipeline = Pipeline::new(&[HOUR]).await;
    pipeline.receiver.script(&[Reply::Status(500)]);
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    pipeline.expect_deferred(&[(0, 1)]).await;
    let other = pipeline.submit_one().await;
    pipeline.expect(&[other]).await;
    running.stop().await;
    assert_eq!(pipeline.receiver.calls_about(&id), 1);
    assert_eq!(pipeline.receiver.taken().len(), 1);
}

#[tokio::test]
async fn a_crash_during_a_call_repeats_it_with_the_same_id() {
    let pipeline = Pipeline::new(&[HOUR]).await;
    pipeline.receiver.script(&[Reply::Nothing]);
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    eventually(DEADLINE, async || pipeline.receiver.calls_about(&id) == 1).await;
    running.kill();
    let running = pipeline.start();
    pipeline.expect(std::slice::from_ref(&id)).await;
    pipeline.expect_deferred(&[]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_delivered_record_is_recognised_from_the_journal() {
    let pipeline = Pipeline::new(&[HOUR]).await;
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    pipeline.expect_journal(&id, &["sent"]).await;
    running.stop().await;
    pipeline.reset_offsets().await;
    let running = pipeline.start();
    let next = pipeline.submit_one().await;
    pipeline.expect(&[id, next]).await;
    let sink = format!("{}.crm", pipeline.app);
    let known = format!(r#"formline_sink_records_total{{outcome="known",sink="{sink}"}}"#);
    eventually(DEADLINE, async || running.metric(&known).await == 1.0).await;
    running.stop().await;
}

#[tokio::test]
async fn a_shorter_schedule_loses_no_deferred_record() {
    let mut pipeline = Pipeline::new(&[Duration::from_millis(200), Duration::from_secs(3)]).await;
    let failures = [Reply::Status(500), Reply::Status(500)];
    pipeline.receiver.script(&failures);
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    pipeline.expect_deferred(&[(0, 1), (1, 1)]).await;
    running.kill();
    pipeline.settings.schedule.pop();
    let running = pipeline.start();
    pipeline.expect(&[id]).await;
    running.stop().await;
}

/// Both copies of a record are read again: the one in the input, and the deferred one.
#[tokio::test]
async fn a_delivered_record_is_recognised_in_every_topic() {
    let pipeline = Pipeline::new(&[Duration::from_millis(200)]).await;
    pipeline.receiver.script(&[Reply::Status(500)]);
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    pipeline.expect_journal(&id, &["put-off", "sent"]).await;
    running.stop().await;
    pipeline.reset_offsets().await;
    let running = pipeline.start();
    let next = pipeline.submit_one().await;
    pipeline.expect(&[id.clone(), next]).await;
    assert_eq!(pipeline.receiver.calls_about(&id), 2);
    pipeline.expect_deferred(&[(0, 1)]).await;
    running.stop().await;
}

/// Calls of a partition that moves to another process are either in the journal or repeated with
/// the same id.
#[tokio::test]
async fn two_processes_share_the_work_and_one_continues_alone() {
    let pipeline = Pipeline::new(&[Duration::from_millis(200); 10]).await;
    let one = pipeline.start();
    let mut ids = pipeline.submit_many(10).await;
    let two = pipeline.start_as("two");
    pipeline.receiver.script(&[Reply::Status(500); 5]);
    ids.extend(pipeline.submit_many(20).await);
    pipeline.expect_all(&ids).await;
    one.kill();
    ids.extend(pipeline.submit_many(20).await);
    pipeline.expect_all(&ids).await;
    two.stop().await;
}

#[tokio::test]
async fn outcomes_are_recorded_when_kafka_is_available_again() {
    let mut kafka = Kafka::start_own().await;
    let pipeline = Pipeline::on(&kafka, &[HOUR]).await;
    let running = pipeline.start();
    for (reply, outcome) in [(Reply::Held(200), "sent"), (Reply::Held(500), "put-off")] {
        pipeline.receiver.script(&[reply]);
        let id = pipeline.submit_one().await;
        eventually(DEADLINE, async || pipeline.receiver.calls_about(&id) == 1).await;
        kafka.kill();
        pipeline.receiver.release();
        kafka.restart().await;
        pipeline.expect_journal(&id, &[outcome]).await;
        assert_eq!(pipeline.receiver.calls_about(&id), 1);
    }
    pipeline.expect_deferred(&[(0, 1)]).await;
    running.stop().await;
}
