//! Replies of the server: every message arrives once, or twice with one id, and the journal says
//! why.

use std::time::Duration;

use formline_core::{EventId, event::header, kafka::record::Headers};
use formline_testing::{Smtp, eventually};

use crate::pipeline::{DEADLINE, Pipeline};

#[tokio::test]
async fn a_message_with_text_and_html_arrives_once() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let id = pipeline.submit_for("ada@example.com").await;
    pipeline.expect(std::slice::from_ref(&id)).await;
    pipeline.expect_journal(&id, &["attempting", "sent"]).await;
    let mail = &pipeline.smtp.mails()[0];
    assert!(mail.starts_with("X-Rcpt: ada@example.com\r\n"), "{mail}");
    for part in [
        &format!("Message-ID: <{id}.thanks@example.org>"),
        "From: Forms <forms@example.org>",
        "To: ada@example.com",
        "Subject: Thanks, Ada",
        "Auto-Submitted: auto-generated",
        "Dear Ada,",
        "<p>Dear Ada, we have it.</p>",
    ] {
        assert!(mail.contains(part), "no `{part}` in {mail}");
    }
    let sink = format!("{}.mail", pipeline.app);
    let sent = format!(r#"formline_email_messages_total{{outcome="sent",sink="{sink}"}}"#);
    assert_eq!(running.metric(&sent).await, 1.0);
    running.stop().await;
}

#[tokio::test]
async fn a_deferred_message_arrives_once() {
    let pipeline = Pipeline::new().await;
    pipeline.smtp.script(&["451", "rcpt 450"]);
    let running = pipeline.start();
    let id = pipeline.submit_for("ada@example.com").await;
    pipeline.expect(std::slice::from_ref(&id)).await;
    let journal = [
        "attempting",
        "put-off",
        "attempting",
        "put-off",
        "attempting",
        "sent",
    ];
    pipeline.expect_journal(&id, &journal).await;
    running.stop().await;
}

#[tokio::test]
async fn an_unknown_outcome_is_repeated_once_with_the_same_id() {
    let pipeline = Pipeline::new().await;
    pipeline.smtp.script(&["keep-and-cut"]);
    let running = pipeline.start();
    let id = pipeline.submit_for("ada@example.com").await;
    pipeline.expect(&[id.clone(), id.clone()]).await;
    pipeline
        .expect_journal(&id, &["attempting", "attempting", "sent"])
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_never_replies_gets_a_message_twice_and_no_more() {
    let mut pipeline = Pipeline::new().await;
    pipeline.timeout = Duration::from_secs(1);
    pipeline.smtp.script(&["hang", "hang"]);
    let running = pipeline.start();
    let id = pipeline.submit_for("ada@example.com").await;
    pipeline
        .expect_journal(&id, &["attempting", "attempting", "uncertain"])
        .await;
    let next = pipeline.submit_for("ada@example.com").await;
    pipeline.expect(&[next]).await;
    assert_eq!(pipeline.smtp.seen(), ["hang", "hang", "250"]);
    let sink = format!("{}.mail", pipeline.app);
    let unknown = format!(r#"formline_sink_records_total{{outcome="uncertain",sink="{sink}"}}"#);
    eventually(DEADLINE, async || running.metric(&unknown).await == 1.0).await;
    running.stop().await;
}

#[tokio::test]
async fn a_message_is_sent_again_after_a_crash_during_its_attempt() {
    let pipeline = Pipeline::new().await;
    pipeline.smtp.script(&["hang"]);
    let running = pipeline.start();
    let id = pipeline.submit_for("ada@example.com").await;
    eventually(DEADLINE, async || pipeline.smtp.seen() == ["hang"]).await;
    running.kill();
    let running = pipeline.start();
    pipeline.expect(std::slice::from_ref(&id)).await;
    pipeline
        .expect_journal(&id, &["attempting", "attempting", "sent"])
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_deferred_message_holds_up_no_other() {
    let mut pipeline = Pipeline::new().await;
    pipeline.settings.schedule = vec![Duration::from_secs(3_600)];
    pipeline.smtp.script(&["rcpt 450"]);
    let running = pipeline.start();
    let deferred = pipeline.submit_for("ada@example.com").await;
    pipeline
        .expect_journal(&deferred, &["attempting", "put-off"])
        .await;
    let mut others = Vec::new();
    for name in ["bob", "cem", "dora", "eve"] {
        others.push(pipeline.submit_for(&format!("{name}@example.com")).await);
    }
    pipeline.expect(&others).await;
    running.stop().await;
}

#[tokio::test]
async fn a_message_that_is_deferred_to_the_end_is_dead_lettered() {
    let pipeline = Pipeline::new().await;
    pipeline
        .smtp
        .script(&["rcpt 450", "rcpt 450", "451", "451"]);
    let running = pipeline.start();
    let never = pipeline.submit_for("ada@example.com").await;
    pipeline.expect_dead_letters(&["exhausted"]).await;
    let journal = pipeline.journal(&never).await;
    assert_eq!(journal.last().unwrap(), "given-up", "{journal:?}");
    let next = pipeline.submit_for("bob@example.com").await;
    pipeline.expect(&[next]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_sent_message_is_recognised_when_its_record_is_read_again() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let id = pipeline.submit_for("ada@example.com").await;
    pipeline.expect_journal(&id, &["attempting", "sent"]).await;
    running.stop().await;
    pipeline.reset_offsets().await;
    let running = pipeline.start();
    let next = pipeline.submit_for("bob@example.com").await;
    pipeline.expect(&[id, next]).await;
    running.stop().await;
}

#[tokio::test]
async fn an_id_that_is_used_again_after_a_day_gets_its_own_message() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let id = pipeline.submit_for("ada@example.com").await;
    pipeline.expect_journal(&id, &["attempting", "sent"]).await;
    running.stop().await;
    let again = Headers::with_capacity(1).with(header::ID, &id);
    pipeline
        .put(again, r#"{"email":"ada@example.com","name":"Ada"}"#)
        .await;
    let running = pipeline.start();
    pipeline.expect(&[id.clone(), id]).await;
    running.stop().await;
}

#[tokio::test]
async fn the_journal_does_not_contain_the_text_of_a_reply() {
    let pipeline = Pipeline::new().await;
    pipeline.smtp.script(&["rcpt 550"]);
    let running = pipeline.start();
    pipeline.submit_for("ada@example.com").await;
    pipeline.expect_dead_letters(&["refused"]).await;
    let journal = pipeline.journal_text().await;
    assert!(journal.contains("the server replied 550"), "{journal}");
    assert!(!journal.contains("ada@"), "{journal}");
    assert!(pipeline.dead_letter_detail().await.contains("550"));
    running.stop().await;
}

#[tokio::test]
async fn messages_wait_while_the_server_is_unavailable() {
    let mut pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit_for("ada@example.com").await];
    pipeline.expect(&ids).await;
    pipeline.smtp.kill();
    for name in ["bob", "cem", "dora", "eve"] {
        ids.push(pipeline.submit_for(&format!("{name}@example.com")).await);
    }
    running.expect_stopped("an e-mail was not accepted").await;
    assert!(running.telemetry.is_ready(), "the process stays ready");
    pipeline.smtp.restart().await;
    pipeline.expect(&ids).await;
    running.expect_ready().await;
    running.stop().await;
}

#[tokio::test]
async fn a_message_arrives_at_most_twice_with_several_faults() {
    let mut pipeline = Pipeline::new().await;
    pipeline.smtp.kill();
    let running = pipeline.start();
    let id = pipeline.submit_for("ada@example.com").await;
    running.expect_stopped("an e-mail was not accepted").await;
    // The journal says that nothing was sent.
    running.kill();
    pipeline
        .smtp
        .script(&["keep-and-cut", "451", "keep-and-cut"]);
    pipeline.smtp.restart().await;
    let running = pipeline.start();
    eventually(DEADLINE, async || {
        let journal = pipeline.journal(&id).await;
        let has_ended = journal.contains(&"uncertain".to_owned());
        has_ended.then_some(()).ok_or(journal)
    })
    .await;
    pipeline.expect(&[id.clone(), id]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_record_for_another_group_is_skipped() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let other = Headers::with_capacity(2)
        .with(header::ID, EventId::new().to_string())
        .with(header::REPLAY_FOR, "formline.app.another");
    pipeline
        .put(other, r#"{"email":"ada@example.com","name":"Ada"}"#)
        .await;
    let mut ids = Vec::new();
    for name in ["ada", "bob", "cem", "dora"] {
        ids.push(pipeline.submit_for(&format!("{name}@example.com")).await);
    }
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn no_message_is_sent_to_a_server_with_an_untrusted_certificate() {
    let mut pipeline = Pipeline::before(Smtp::start_self_signed().await).await;
    pipeline.url.push_str("?tls=required");
    let running = pipeline.start();
    pipeline.submit_for("ada@example.com").await;
    running.expect_stopped("certificate").await;
    assert_eq!(pipeline.smtp.mails().len() + pipeline.smtp.seen().len(), 0);
    running.stop().await;
}
