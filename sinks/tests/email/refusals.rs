//! Records that give no mail become dead letters, and their neighbours arrive.

use serde_json::json;

use crate::line::Line;

#[tokio::test]
async fn a_refused_mail_becomes_a_dead_letter_and_can_be_replayed() {
    let line = Line::new().await;
    line.smtp.script(&["550"]);
    let running = line.start();
    let refused = line.submit_for("ada@example.com").await;
    line.expect_dead_letters(&["refused"]).await;
    line.expect_journal(&refused, &["attempting", "given-up"])
        .await;
    let neighbour = line.submit_for("bob@example.com").await;
    line.expect(std::slice::from_ref(&neighbour)).await;
    line.replay().await;
    line.expect(&[refused, neighbour]).await;
    line.expect_dead_letters(&[]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_recipient_that_the_server_does_not_know_is_refused_before_the_text() {
    let line = Line::new().await;
    line.smtp.script(&["rcpt 550"]);
    let running = line.start();
    line.submit_for("nobody@example.com").await;
    line.expect_dead_letters(&["refused"]).await;
    let neighbour = line.submit_for("bob@example.com").await;
    line.expect(&[neighbour]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_address_or_does_not_fill_the_template_is_rejected() {
    let line = Line::new().await;
    let running = line.start();
    line.submit_for("ada@example.com\r\nRCPT TO:<bob@example.com>")
        .await;
    line.expect_dead_letters(&["bad-address"]).await;
    line.submit(&json!({ "email": "ada@example.com" })).await;
    line.expect_dead_letters(&["bad-address", "template"]).await;
    let hostile = "Ada\r\nBcc: bob@example.com\r\n\r\n<script>";
    let fields = json!({ "email": "ada@example.com", "name": hostile });
    let id = line.submit(&fields).await;
    line.expect(&[id]).await;
    let mail = &line.smtp.mails()[0];
    assert!(mail.starts_with("X-Rcpt: ada@example.com\r\n"), "{mail}");
    let (head, _) = mail.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("\nBcc"), "{head}");
    assert!(mail.contains("&lt;script&gt;"), "{mail}");
    running.stop().await;
}

#[tokio::test]
async fn nobody_is_buried_in_mail_also_not_across_a_restart() {
    let mut line = Line::new().await;
    line.settings.per_address = 2;
    let running = line.start();
    let first = line.submit_for("ada@example.com").await;
    line.expect(std::slice::from_ref(&first)).await;
    running.stop().await;
    let running = line.start();
    let second = line.submit_for("Ada+again@example.com").await;
    line.expect(&[first.clone(), second.clone()]).await;
    line.submit_for("ada@example.com").await;
    line.expect_dead_letters(&["rate-limited"]).await;
    let other = line.submit_for("bob@example.com").await;
    line.expect(&[first, second, other]).await;
    running.stop().await;
}

#[tokio::test]
async fn one_form_sends_no_more_mails_than_it_may() {
    let mut line = Line::new().await;
    line.settings.per_form = 2;
    let running = line.start();
    let mut ids = Vec::new();
    for name in ["ada", "bob"] {
        ids.push(line.submit_for(&format!("{name}@example.com")).await);
        line.expect(&ids).await;
    }
    line.submit_for("cem@example.com").await;
    line.expect_dead_letters(&["rate-limited"]).await;
    line.expect(&ids).await;
    running.stop().await;
}
