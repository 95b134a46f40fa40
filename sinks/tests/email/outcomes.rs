//! What the server answers, or does not: every mail comes once, or twice with one id, and the journal says why.

use std::time::Duration;

use formline_core::{EventId, event::header, record::Headers};
use formline_testing::{Smtp, eventually};

use crate::line::{DEADLINE, Line};

#[tokio::test]
async fn a_mail_with_text_and_html_comes_once() {
    let line = Line::new().await;
    let running = line.start();
    let id = line.submit_for("ada@example.com").await;
    line.expect(std::slice::from_ref(&id)).await;
    line.expect_journal(&id, &["attempting", "sent"]).await;
    let mail = &line.smtp.mails()[0];
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
    let sink = format!("{}.mail", line.app);
    let sent = format!(r#"formline_email_messages_total{{outcome="sent",sink="{sink}"}}"#);
    assert_eq!(running.metric(&sent).await, 1.0);
    running.stop().await;
}

#[tokio::test]
async fn a_mail_that_is_put_off_comes_later_and_once() {
    let line = Line::new().await;
    line.smtp.script(&["451", "rcpt 450"]);
    let running = line.start();
    let id = line.submit_for("ada@example.com").await;
    line.expect(std::slice::from_ref(&id)).await;
    let journal = [
        "attempting",
        "put-off",
        "attempting",
        "put-off",
        "attempting",
        "sent",
    ];
    line.expect_journal(&id, &journal).await;
    running.stop().await;
}

#[tokio::test]
async fn an_unknown_outcome_is_repeated_once_with_the_same_id() {
    let line = Line::new().await;
    line.smtp.script(&["keep-and-cut"]);
    let running = line.start();
    let id = line.submit_for("ada@example.com").await;
    line.expect(&[id.clone(), id.clone()]).await;
    line.expect_journal(&id, &["attempting", "attempting", "sent"])
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_never_answers_gets_a_mail_twice_and_not_more() {
    let mut line = Line::new().await;
    line.patience = Duration::from_secs(1);
    line.smtp.script(&["hang", "hang"]);
    let running = line.start();
    let id = line.submit_for("ada@example.com").await;
    line.expect_journal(&id, &["attempting", "attempting", "uncertain"])
        .await;
    let next = line.submit_for("ada@example.com").await;
    line.expect(&[next]).await;
    assert_eq!(line.smtp.seen(), ["hang", "hang", "250"]);
    running.stop().await;
}

#[tokio::test]
async fn a_mail_is_sent_once_more_after_a_crash_in_its_middle_and_then_known() {
    let line = Line::new().await;
    line.smtp.script(&["hang"]);
    let running = line.start();
    let id = line.submit_for("ada@example.com").await;
    eventually(DEADLINE, async || line.smtp.seen() == ["hang"]).await;
    running.kill();
    let running = line.start();
    line.expect(std::slice::from_ref(&id)).await;
    line.expect_journal(&id, &["attempting", "attempting", "sent"])
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_mail_that_is_put_off_holds_up_nobody() {
    let mut line = Line::new().await;
    line.settings.schedule = vec![Duration::from_secs(3_600)];
    line.smtp.script(&["rcpt 450"]);
    let running = line.start();
    let put_off = line.submit_for("ada@example.com").await;
    line.expect_journal(&put_off, &["attempting", "put-off"])
        .await;
    let mut others = Vec::new();
    for name in ["bob", "cem", "dora", "eve"] {
        others.push(line.submit_for(&format!("{name}@example.com")).await);
    }
    line.expect(&others).await;
    running.stop().await;
}

#[tokio::test]
async fn a_mail_that_is_put_off_to_the_end_is_a_dead_letter() {
    let line = Line::new().await;
    line.smtp.script(&["rcpt 450", "rcpt 450", "451", "451"]);
    let running = line.start();
    let never = line.submit_for("ada@example.com").await;
    line.expect_dead_letters(&["exhausted"]).await;
    let journal = line.journal(&never).await;
    assert_eq!(journal.last().unwrap(), "given-up", "{journal:?}");
    let next = line.submit_for("bob@example.com").await;
    line.expect(&[next]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_sent_is_known_when_its_record_is_read_again() {
    let line = Line::new().await;
    let running = line.start();
    let id = line.submit_for("ada@example.com").await;
    line.expect_journal(&id, &["attempting", "sent"]).await;
    running.stop().await;
    line.forget_offsets().await;
    let running = line.start();
    let next = line.submit_for("bob@example.com").await;
    line.expect(&[id, next]).await;
    running.stop().await;
}

#[tokio::test]
async fn an_id_that_is_used_again_after_a_day_has_a_mail_of_its_own() {
    let line = Line::new().await;
    let running = line.start();
    let id = line.submit_for("ada@example.com").await;
    line.expect_journal(&id, &["attempting", "sent"]).await;
    running.stop().await;
    let again = Headers::with_capacity(1).with(header::ID, &id);
    line.put(again, r#"{"email":"ada@example.com","name":"Ada"}"#)
        .await;
    let running = line.start();
    line.expect(&[id.clone(), id]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_a_server_says_of_an_address_is_not_told_to_everybody() {
    let line = Line::new().await;
    line.smtp.script(&["rcpt 550"]);
    let running = line.start();
    line.submit_for("ada@example.com").await;
    line.expect_dead_letters(&["refused"]).await;
    let told = line.journal_text().await;
    assert!(told.contains("the server has answered 550"), "{told}");
    assert!(!told.contains("ada@"), "{told}");
    assert!(line.dead_letter_detail().await.contains("550"));
    running.stop().await;
}

#[tokio::test]
async fn mails_wait_while_the_server_is_away() {
    let mut line = Line::new().await;
    let running = line.start();
    let mut ids = vec![line.submit_for("ada@example.com").await];
    line.expect(&ids).await;
    line.smtp.kill();
    for name in ["bob", "cem", "dora", "eve"] {
        ids.push(line.submit_for(&format!("{name}@example.com")).await);
    }
    running.expect_stopped("a mail was not taken").await;
    assert!(
        running.telemetry.is_ready(),
        "nobody else is to wait for it"
    );
    line.smtp.restart().await;
    line.expect(&ids).await;
    running.expect_ready().await;
    running.stop().await;
}

#[tokio::test]
async fn a_mail_comes_twice_at_most_whatever_comes_together() {
    let mut line = Line::new().await;
    line.smtp.kill();
    let running = line.start();
    let id = line.submit_for("ada@example.com").await;
    running.expect_stopped("a mail was not taken").await;
    // The journal that is read back says that nothing was sent.
    running.kill();
    line.smtp.script(&["keep-and-cut", "451", "keep-and-cut"]);
    line.smtp.restart().await;
    let running = line.start();
    eventually(DEADLINE, async || {
        let journal = line.journal(&id).await;
        let is_given_up = journal.contains(&"uncertain".to_owned());
        is_given_up.then_some(()).ok_or(journal)
    })
    .await;
    line.expect(&[id.clone(), id]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_record_for_another_group_is_none_of_ours() {
    let line = Line::new().await;
    let running = line.start();
    let other = Headers::with_capacity(2)
        .with(header::ID, EventId::new().to_string())
        .with(header::REPLAY_FOR, "formline.app.another");
    line.put(other, r#"{"email":"ada@example.com","name":"Ada"}"#)
        .await;
    let mut ids = Vec::new();
    for name in ["ada", "bob", "cem", "dora"] {
        ids.push(line.submit_for(&format!("{name}@example.com")).await);
    }
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn no_mail_goes_to_a_server_whose_certificate_nobody_has_signed() {
    let mut line = Line::before(Smtp::start_self_signed().await).await;
    line.url.push_str("?tls=required");
    let running = line.start();
    line.submit_for("ada@example.com").await;
    running.expect_stopped("certificate").await;
    assert_eq!(line.smtp.mails().len() + line.smtp.seen().len(), 0);
    running.stop().await;
}
