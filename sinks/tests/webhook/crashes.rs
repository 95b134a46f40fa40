//! Whatever is killed: nothing that waits is lost, and what the receiver has taken is not called again.

use std::time::Duration;

use formline_testing::{Kafka, Reply, eventually};

use crate::line::{DEADLINE, HOUR, Line};

#[tokio::test]
async fn what_waits_comes_after_a_restart() {
    let line = Line::new(&[Duration::from_secs(3)]).await;
    line.receiver.script(&[Reply::Status(500)]);
    let running = line.start();
    let id = line.submit_one().await;
    line.expect_put_off(&[(0, 1)]).await;
    running.kill();
    let running = line.start();
    line.expect(std::slice::from_ref(&id)).await;
    running.stop().await;
}

#[tokio::test]
async fn a_sink_that_stops_does_not_wait_for_what_is_due_later() {
    let line = Line::new(&[HOUR]).await;
    line.receiver.script(&[Reply::Status(500)]);
    let running = line.start();
    let id = line.submit_one().await;
    line.expect_put_off(&[(0, 1)]).await;
    let other = line.submit_one().await;
    line.expect(&[other]).await;
    running.stop().await;
    assert_eq!(line.receiver.calls_about(&id), 1);
    assert_eq!(line.receiver.taken().len(), 1);
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_call_repeats_it_with_the_same_id() {
    let line = Line::new(&[HOUR]).await;
    line.receiver.script(&[Reply::Nothing]);
    let running = line.start();
    let id = line.submit_one().await;
    eventually(DEADLINE, async || line.receiver.calls_about(&id) == 1).await;
    running.kill();
    let running = line.start();
    line.expect(std::slice::from_ref(&id)).await;
    line.expect_put_off(&[]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_the_receiver_has_is_known_from_the_journal() {
    let line = Line::new(&[HOUR]).await;
    let running = line.start();
    let id = line.submit_one().await;
    line.expect_journal(&id, &["sent"]).await;
    running.stop().await;
    line.forget_offsets().await;
    let running = line.start();
    let next = line.submit_one().await;
    line.expect(&[id, next]).await;
    let sink = format!("{}.crm", line.app);
    let known = format!(r#"formline_sink_records_total{{outcome="known",sink="{sink}"}}"#);
    eventually(DEADLINE, async || running.metric(&known).await == 1.0).await;
    running.stop().await;
}

#[tokio::test]
async fn another_schedule_leaves_nothing_behind() {
    let mut line = Line::new(&[Duration::from_millis(200), Duration::from_secs(3)]).await;
    let failures = [Reply::Status(500), Reply::Status(500)];
    line.receiver.script(&failures);
    let running = line.start();
    let id = line.submit_one().await;
    line.expect_put_off(&[(0, 1), (1, 1)]).await;
    running.kill();
    line.settings.schedule.pop();
    let running = line.start();
    line.expect(&[id]).await;
    running.stop().await;
}

/// Both copies of a record are read again: the one in the input, and the one that waited.
#[tokio::test]
async fn what_the_receiver_has_is_known_wherever_its_record_lies() {
    let line = Line::new(&[Duration::from_millis(200)]).await;
    line.receiver.script(&[Reply::Status(500)]);
    let running = line.start();
    let id = line.submit_one().await;
    line.expect_journal(&id, &["put-off", "sent"]).await;
    running.stop().await;
    line.forget_offsets().await;
    let running = line.start();
    let next = line.submit_one().await;
    line.expect(&[id.clone(), next]).await;
    assert_eq!(line.receiver.calls_about(&id), 2);
    line.expect_put_off(&[(0, 1)]).await;
    running.stop().await;
}

/// What is done with a partition that goes to another process is either noted or made again with the same id.
#[tokio::test]
async fn two_processes_share_the_work_and_one_goes_on_alone() {
    let line = Line::new(&[Duration::from_millis(200); 10]).await;
    let one = line.start();
    let mut ids = line.submit_many(10).await;
    let two = line.start_as("two");
    line.receiver.script(&[Reply::Status(500); 5]);
    ids.extend(line.submit_many(20).await);
    line.expect_all(&ids).await;
    one.kill();
    ids.extend(line.submit_many(20).await);
    line.expect_all(&ids).await;
    two.stop().await;
}

#[tokio::test]
async fn what_happens_while_kafka_is_away_is_noted_when_it_is_back() {
    let mut kafka = Kafka::start_own().await;
    let line = Line::on(&kafka, &[HOUR]).await;
    let running = line.start();
    for (reply, outcome) in [(Reply::Held(200), "sent"), (Reply::Held(500), "put-off")] {
        line.receiver.script(&[reply]);
        let id = line.submit_one().await;
        eventually(DEADLINE, async || line.receiver.calls_about(&id) == 1).await;
        kafka.kill();
        line.receiver.release();
        kafka.restart().await;
        line.expect_journal(&id, &[outcome]).await;
        assert_eq!(line.receiver.calls_about(&id), 1);
    }
    line.expect_put_off(&[(0, 1)]).await;
    running.stop().await;
}
