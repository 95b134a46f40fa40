//! What the receiver answers, and what comes of it.

use std::time::Duration;

use formline_core::{EventId, event::header, record::Headers, settings::Secret};
use formline_testing::{Reply, eventually, kafka};
use jiff::Timestamp;
use serde_json::Value;

use crate::line::{DEADLINE, HOUR, Line};

const SOON: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_call_is_signed_and_comes_once() {
    let line = Line::new(&[HOUR]).await;
    let running = line.start();
    let id = line.submit_one().await;
    line.expect(std::slice::from_ref(&id)).await;
    line.expect_journal(&id, &["sent"]).await;
    let body: Value = serde_json::from_str(&line.receiver.calls()[0].body).unwrap();
    assert_eq!(body["type"], "formline.submission.accepted");
    assert_eq!(body["source"], "/forms/student-data");
    assert_eq!(body["submission"], id);
    assert_eq!(body["data"]["name"], "Ada");
    let sink = format!("{}.crm", line.app);
    let calls = format!(r#"formline_webhook_calls_total{{outcome="taken",sink="{sink}"}}"#);
    assert_eq!(running.metric(&calls).await, 1.0);
    line.expect_outcomes(&[id], &[]).await;
    assert!(!line.journal_text().await.contains("Ada"));
    let long_ago = Timestamp::now() - HOUR * 24 * 31;
    let error = line.outcomes(long_ago).await.unwrap_err().to_string();
    assert!(error.contains("goes back 30 days"), "{error}");
    running.stop().await;
}

#[tokio::test]
async fn what_fails_holds_up_nobody_and_is_known_to_be_under_way() {
    let line = Line::new(&[HOUR]).await;
    line.receiver.script(&[Reply::Status(500)]);
    let running = line.start();
    let failed = line.submit_one().await;
    line.expect_journal(&failed, &["put-off"]).await;
    let others = line.submit_many(20).await;
    line.expect(&others).await;
    assert_eq!(line.receiver.calls_about(&failed), 1);
    line.expect_outcomes(&others, &[failed]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_fails_comes_by_the_schedule_with_the_same_id() {
    let line = Line::new(&[SOON, SOON * 2, HOUR]).await;
    let failures = [Reply::Status(500), Reply::Redirect("http://127.0.0.1:1/")];
    line.receiver.script(&failures);
    let running = line.start();
    let id = line.submit_one().await;
    line.expect(std::slice::from_ref(&id)).await;
    line.expect_put_off(&[(0, 1), (1, 1)]).await;
    assert_eq!(line.receiver.calls_about(&id), 3);
    line.expect_journal(&id, &["put-off", "put-off", "sent"])
        .await;
    line.expect_outcomes(&[id], &[]).await;
    running.stop().await;
}

#[tokio::test]
async fn who_asks_for_patience_is_left_alone() {
    let line = Line::new(&[SOON, SOON * 2, HOUR]).await;
    line.receiver.script(&[Reply::Busy(60)]);
    let running = line.start();
    let id = line.submit_one().await;
    line.expect_put_off(&[(2, 1)]).await;
    let other = line.submit_one().await;
    line.expect(&[other]).await;
    assert_eq!(line.receiver.calls_about(&id), 1);
    running.stop().await;
}

#[tokio::test]
async fn no_answer_in_time_is_a_failure() {
    let mut line = Line::new(&[SOON]).await;
    line.settings.timeout = Duration::from_secs(1);
    line.receiver.script(&[Reply::Nothing]);
    let running = line.start();
    let id = line.submit_one().await;
    running.expect_stopped("no answer within 1s").await;
    line.expect(&[id]).await;
    running.expect_ready().await;
    assert!(
        running.telemetry.is_ready(),
        "nobody else is to wait for it"
    );
    running.stop().await;
}

#[tokio::test]
async fn what_fails_to_the_end_is_a_dead_letter_and_can_be_replayed() {
    let line = Line::new(&[SOON, SOON]).await;
    let running = line.start();
    line.receiver.be_down(true);
    let id = line.submit_one().await;
    line.expect_dead_letters(&["exhausted"]).await;
    assert_eq!(line.receiver.calls_about(&id), 3);
    let detail = line.dead_letter_detail().await;
    assert!(detail.contains("the answer was 500"), "{detail}");
    // It fails again, and may be replayed again.
    line.replay().await;
    eventually(DEADLINE, async || line.receiver.calls_about(&id) == 6).await;
    line.expect_dead_letters(&["exhausted"]).await;
    line.receiver.be_down(false);
    line.replay().await;
    line.expect(&[id]).await;
    line.expect_dead_letters(&[]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_receiver_that_wants_no_more_is_not_called_any_more() {
    let line = Line::new(&[SOON]).await;
    line.receiver.script(&[Reply::Status(410)]);
    let running = line.start();
    let mut ids = vec![line.submit_one().await];
    running.expect_stopped("answers 410 Gone").await;
    ids.extend(line.submit_many(5).await);
    assert_eq!(line.receiver.calls().len(), 1);
    running.stop().await;
    // A person starts it again: nothing was lost.
    let running = line.start();
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_put_off_stops_the_sink() {
    let line = Line::with_topics(kafka().await, &[SOON], "100").await;
    line.receiver.script(&[Reply::Status(500)]);
    let running = line.start();
    let id = line.submit_one().await;
    running.expect_stopped("raise its max.message.bytes").await;
    running.stop().await;
    // Nothing is lost: the record lies in its topic.
    let running = line.start();
    line.expect(&[id]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_json_becomes_a_dead_letter() {
    let line = Line::new(&[SOON]).await;
    let running = line.start();
    let headers = Headers::with_capacity(1).with(header::ID, EventId::new().to_string());
    line.put(headers, "{").await;
    line.expect_dead_letters(&["not-json"]).await;
    let neighbour = line.submit_one().await;
    line.expect(&[neighbour]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_record_for_another_group_is_none_of_ours() {
    let line = Line::new(&[SOON]).await;
    let running = line.start();
    let other = Headers::with_capacity(2)
        .with(header::ID, EventId::new().to_string())
        .with(header::REPLAY_FOR, "formline.app.another");
    line.put(other, "{}").await;
    let ids = line.submit_many(6).await;
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_secret_is_replaced_while_the_receiver_knows_one_of_the_two() {
    let mut line = Line::new(&[HOUR]).await;
    let other = Secret::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    line.settings.secrets.insert(0, other.clone());
    let running = line.start();
    let id = line.submit_one().await;
    line.expect(&[id]).await;
    running.stop().await;
    // With the new one alone it is a stranger.
    line.settings.secrets = vec![other];
    let running = line.start();
    let id = line.submit_one().await;
    line.expect_journal(&id, &["put-off"]).await;
    running.expect_stopped("the answer was 401").await;
    running.stop().await;
}

#[tokio::test]
async fn all_come_when_a_receiver_was_down_each_once() {
    let line = Line::new(&[Duration::from_secs(1); 20]).await;
    let running = line.start();
    line.receiver.be_down(true);
    let ids = line.submit_many(60).await;
    eventually(DEADLINE, async || line.receiver.calls().len() > 80).await;
    line.receiver.be_down(false);
    line.expect(&ids).await;
    line.expect_outcomes(&ids, &[]).await;
    running.stop().await;
}
