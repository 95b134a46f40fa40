//! Records that yield no message are dead-lettered, and the others are delivered.

use serde_json::json;

use crate::pipeline::Pipeline;

#[tokio::test]
async fn a_rejected_message_is_dead_lettered_and_can_be_replayed() {
    let pipeline = Pipeline::new().await;
    pipeline.smtp.script(&["550"]);
    let running = pipeline.start();
    let rejected = pipeline.submit_for("ada@example.com").await;
    pipeline.expect_dead_letters(&["refused"]).await;
    pipeline
        .expect_journal(&rejected, &["attempting", "given-up"])
        .await;
    let neighbour = pipeline.submit_for("bob@example.com").await;
    pipeline.expect(std::slice::from_ref(&neighbour)).await;
    pipeline.replay().await;
    pipeline.expect(&[rejected, neighbour]).await;
    pipeline.expect_dead_letters(&[]).await;
    running.stop().await;
}

#[tokio::test]
async fn an_unknown_recipient_is_rejected_before_the_text() {
    let pipeline = Pipeline::new().await;
    pipeline.smtp.script(&["rcpt 550"]);
    let running = pipeline.start();
    pipeline.submit_for("nobody@example.com").await;
    pipeline.expect_dead_letters(&["refused"]).await;
    let neighbour = pipeline.submit_for("bob@example.com").await;
    pipeline.expect(&[neighbour]).await;
    running.stop().await;
}

#[tokio::test]
async fn an_invalid_address_and_a_missing_field_are_rejected() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    pipeline
        .submit_for("ada@example.com\r\nRCPT TO:<bob@example.com>")
        .await;
    pipeline.expect_dead_letters(&["bad-address"]).await;
    pipeline
        .submit(&json!({ "email": "ada@example.com" }))
        .await;
    pipeline
        .expect_dead_letters(&["bad-address", "template"])
        .await;
    let hostile = "Ada\r\nBcc: bob@example.com\r\n\r\n<script>";
    let fields = json!({ "email": "ada@example.com", "name": hostile });
    let id = pipeline.submit(&fields).await;
    pipeline.expect(&[id]).await;
    let mail = &pipeline.smtp.mails()[0];
    assert!(mail.starts_with("X-Rcpt: ada@example.com\r\n"), "{mail}");
    let (head, _) = mail.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("\nBcc"), "{head}");
    assert!(mail.contains("&lt;script&gt;"), "{mail}");
    running.stop().await;
}

#[tokio::test]
async fn the_limit_for_one_address_holds_across_a_restart() {
    let mut pipeline = Pipeline::new().await;
    pipeline.settings.per_address = 2;
    let running = pipeline.start();
    let first = pipeline.submit_for("ada@example.com").await;
    pipeline.expect(std::slice::from_ref(&first)).await;
    running.stop().await;
    let running = pipeline.start();
    let second = pipeline.submit_for("Ada+again@example.com").await;
    pipeline.expect(&[first.clone(), second.clone()]).await;
    pipeline.submit_for("ada@example.com").await;
    pipeline.expect_dead_letters(&["rate-limited"]).await;
    let other = pipeline.submit_for("bob@example.com").await;
    pipeline.expect(&[first, second, other]).await;
    running.stop().await;
}

#[tokio::test]
async fn the_limit_for_one_form_holds() {
    let mut pipeline = Pipeline::new().await;
    pipeline.settings.per_form = 2;
    let running = pipeline.start();
    let mut ids = Vec::new();
    for name in ["ada", "bob"] {
        ids.push(pipeline.submit_for(&format!("{name}@example.com")).await);
        pipeline.expect(&ids).await;
    }
    pipeline.submit_for("cem@example.com").await;
    pipeline.expect_dead_letters(&["rate-limited"]).await;
    pipeline.expect(&ids).await;
    running.stop().await;
}
