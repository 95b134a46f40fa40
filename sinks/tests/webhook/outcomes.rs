//! Responses of the receiver, and their effects.

use std::time::Duration;

use formline_core::{EventId, Secret, event::header, kafka::record::Headers};
use formline_testing::{Reply, eventually, kafka};
use jiff::Timestamp;
use serde_json::Value;

use crate::pipeline::{DEADLINE, HOUR, Pipeline};

const SOON: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_call_is_signed_and_made_once() {
    let pipeline = Pipeline::new(&[HOUR]).await;
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    pipeline.expect(std::slice::from_ref(&id)).await;
    pipeline.expect_journal(&id, &["sent"]).await;
    let body: Value = serde_json::from_str(&pipeline.receiver.calls()[0].body).unwrap();
    assert_eq!(body["type"], "formline.submission.accepted");
    assert_eq!(body["source"], "/forms/student-data");
    assert_eq!(body["submission"], id);
    assert_eq!(body["data"]["name"], "Ada");
    let sink = format!("{}.crm", pipeline.app);
    let calls = format!(r#"formline_webhook_calls_total{{outcome="taken",sink="{sink}"}}"#);
    assert_eq!(running.metric(&calls).await, 1.0);
    pipeline.expect_outcomes(&[id], &[]).await;
    assert!(!pipeline.journal_text().await.contains("Ada"));
    let long_ago = Timestamp::now() - HOUR * 24 * 31;
    let error = pipeline.outcomes(long_ago).await.unwrap_err().to_string();
    assert!(error.contains("goes back 30 days"), "{error}");
    running.stop().await;
}

#[tokio::test]
async fn a_failed_call_holds_up_no_other_and_is_reported_as_under_way() {
    let pipeline = Pipeline::new(&[HOUR]).await;
    pipeline.receiver.script(&[Reply::Status(500)]);
    let running = pipeline.start();
    let failed = pipeline.submit_one().await;
    pipeline.expect_journal(&failed, &["put-off"]).await;
    let others = pipeline.submit_many(20).await;
    pipeline.expect(&others).await;
    assert_eq!(pipeline.receiver.calls_about(&failed), 1);
    pipeline.expect_outcomes(&others, &[failed]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_failed_call_is_retried_by_the_schedule_with_the_same_id() {
    let pipeline = Pipeline::new(&[SOON, SOON * 2, HOUR]).await;
    let failures = [Reply::Status(500), Reply::Redirect("http://127.0.0.1:1/")];
    pipeline.receiver.script(&failures);
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    pipeline.expect(std::slice::from_ref(&id)).await;
    pipeline.expect_deferred(&[(0, 1), (1, 1)]).await;
    assert_eq!(pipeline.receiver.calls_about(&id), 3);
    pipeline
        .expect_journal(&id, &["put-off", "put-off", "sent"])
        .await;
    let sink = format!("{}.crm", pipeline.app);
    let deferred = format!(r#"formline_sink_records_total{{outcome="put-off",sink="{sink}"}}"#);
    eventually(DEADLINE, async || running.metric(&deferred).await == 2.0).await;
    pipeline.expect_outcomes(&[id], &[]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_delay_is_not_called_earlier() {
    let pipeline = Pipeline::new(&[SOON, SOON * 2, HOUR]).await;
    pipeline.receiver.script(&[Reply::Busy(60)]);
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    pipeline.expect_deferred(&[(2, 1)]).await;
    let other = pipeline.submit_one().await;
    pipeline.expect(&[other]).await;
    assert_eq!(pipeline.receiver.calls_about(&id), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_time_out_is_a_failure() {
    let mut pipeline = Pipeline::new(&[SOON]).await;
    pipeline.settings.timeout = Duration::from_secs(1);
    pipeline.receiver.script(&[Reply::Nothing]);
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    running.expect_stopped("no response within 1s").await;
    pipeline.expect(&[id]).await;
    running.expect_ready().await;
    assert!(running.telemetry.is_ready(), "the process stays ready");
    running.stop().await;
}

#[tokio::test]
async fn a_call_that_fails_to_the_end_is_dead_lettered_and_can_be_replayed() {
    let pipeline = Pipeline::new(&[SOON, SOON]).await;
    let running = pipeline.start();
    pipeline.receiver.be_down(true);
    let id = pipeline.submit_one().await;
    pipeline.expect_dead_letters(&["exhausted"]).await;
    assert_eq!(pipeline.receiver.calls_about(&id), 3);
    let detail = pipeline.dead_letter_detail().await;
    assert!(detail.contains("the response was 500"), "{detail}");
    // It fails again, and can be replayed again.
    pipeline.replay().await;
    eventually(DEADLINE, async || pipeline.receiver.calls_about(&id) == 6).await;
    pipeline.expect_dead_letters(&["exhausted"]).await;
    pipeline.receiver.be_down(false);
    pipeline.replay().await;
    pipeline.expect(&[id]).await;
    pipeline.expect_dead_letters(&[]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_not_called_again() {
    let pipeline = Pipeline::new(&[SOON]).await;
    pipeline.receiver.script(&[Reply::Status(410)]);
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit_one().await];
    running.expect_stopped("answers 410 Gone").await;
    ids.extend(pipeline.submit_many(5).await);
    assert_eq!(pipeline.receiver.calls().len(), 1);
    running.stop().await;
    // After a restart by an operator, nothing is lost.
    let running = pipeline.start();
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_deferred_stops_the_sink() {
    let pipeline = Pipeline::with_limit(kafka().await, &[SOON], "100").await;
    pipeline.receiver.script(&[Reply::Status(500)]);
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    running.expect_stopped("raise its max.message.bytes").await;
    running.stop().await;
    // Nothing is lost, because the record is still in its topic.
    let running = pipeline.start();
    pipeline.expect(&[id]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_value_that_is_not_json_is_dead_lettered() {
    let pipeline = Pipeline::new(&[SOON]).await;
    let running = pipeline.start();
    let headers = Headers::with_capacity(1).with(header::ID, EventId::new().to_string());
    pipeline.put(headers, "{").await;
    pipeline.expect_dead_letters(&["not-json"]).await;
    let neighbour = pipeline.submit_one().await;
    pipeline.expect(&[neighbour]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_record_for_another_group_is_skipped() {
    let pipeline = Pipeline::new(&[SOON]).await;
    let running = pipeline.start();
    let other = Headers::with_capacity(2)
        .with(header::ID, EventId::new().to_string())
        .with(header::REPLAY_FOR, "formline.app.another");
    pipeline.put(other, "{}").await;
    let ids = pipeline.submit_many(6).await;
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_secret_can_be_rotated_while_the_receiver_knows_one_of_two() {
    let mut pipeline = Pipeline::new(&[HOUR]).await;
    let other = Secret::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    pipeline.settings.secrets.insert(0, other.clone());
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    pipeline.expect(&[id]).await;
    running.stop().await;
    // The receiver does not know the new secret.
    pipeline.settings.secrets = vec![other];
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    pipeline.expect_journal(&id, &["put-off"]).await;
    running.expect_stopped("the response was 401").await;
    running.stop().await;
}

#[tokio::test]
async fn every_record_is_delivered_once_after_the_receiver_was_down() {
    let pipeline = Pipeline::new(&[Duration::from_secs(1); 20]).await;
    let running = pipeline.start();
    pipeline.receiver.be_down(true);
    let ids = pipeline.submit_many(60).await;
    eventually(DEADLINE, async || pipeline.receiver.calls().len() > 80).await;
    pipeline.receiver.be_down(false);
    pipeline.expect(&ids).await;
    pipeline.expect_outcomes(&ids, &[]).await;
    running.stop().await;
}
