//! Records that PostgreSQL rejects: each is dead-lettered with the reason, and the others are
//! stored.

use formline_core::{EventId, event::header};
use jiff::Timestamp;

use crate::pipeline::{DEADLINE, Pipeline, headers, submission};
use formline_testing::eventually;

#[tokio::test]
async fn bad_rows_are_found_among_good_ones_and_dead_lettered() {
    let pipeline = Pipeline::new().await;
    let mut ids = Vec::new();
    let deep = "[".repeat(100_000);
    let bad = [
        (r#"{"name":"\u0000"}"#, "22P05"),
        (r#"{"name":"\ud800"}"#, "22P02"),
        ("not json", "22P02"),
        ("1e1000000", "22"),
        (deep.as_str(), "54001"),
        ("", "22P02"),
    ];
    for (value, _) in bad {
        ids.extend(pipeline.submit_many(30).await);
        pipeline.submit(value).await;
    }
    let now = Timestamp::now();
    let (nul, long) = ("a\0b", "x".repeat(10_000));
    let subject = submission(EventId::new(), now, Some(nul));
    pipeline.put(subject.headers(), Some(b"{}")).await;
    // The last header of a name counts. The text does not repeat, or the index would compress it.
    let digits: String = (0..3_000).map(|n| n.to_string()).collect();
    pipeline
        .put(
            headers(EventId::new(), now).with(header::ID, digits),
            Some(b"{}"),
        )
        .await;
    pipeline
        .put(headers(EventId::new(), now), Some(b"\"\xff\""))
        .await;
    let subject = submission(EventId::new(), now, Some(&long));
    ids.push(subject.id.to_string());
    pipeline.put(subject.headers(), Some(b"{}")).await;

    let running = pipeline.start();
    pipeline.expect(&ids).await;
    eventually(DEADLINE, async || pipeline.dead_letters().await.len() == 9).await;
    let letters = pipeline.dead_letters().await;
    for (value, code) in bad {
        let is_it = |letter: &&_| value_of(letter) == value.as_bytes();
        let letter = letters.iter().find(is_it).unwrap();
        assert_eq!(letter.reason(), "refused");
        assert!(letter.detail().contains(code), "{}", letter.detail());
    }
    let reasons = |reason: &str| letters.iter().filter(|one| one.reason() == reason).count();
    assert_eq!((reasons("refused"), reasons("malformed")), (8, 1));
    pipeline.expect_offsets(6 * 31 + 4).await;
    running.stop().await;
}

fn value_of(letter: &formline_core::dead_letter::letter::DeadLetter) -> &[u8] {
    letter.value().unwrap_or_default()
}

#[tokio::test]
async fn a_replayed_dead_letter_is_stored_once() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let mut ids = pipeline.submit_many(3).await;
    pipeline.expect(&ids).await;
    pipeline
        .execute(
            "ALTER TABLE formline.responses ADD CONSTRAINT short CHECK (length(value::text) < 50)",
        )
        .await;
    let long = format!("\"{}\"", "x".repeat(50));
    let rejected = pipeline.submit(&long).await;
    eventually(DEADLINE, async || pipeline.dead_letters().await.len() == 1).await;
    assert!(pipeline.dead_letters().await[0].detail().contains("23514"));

    // It is rejected again, so it is a dead letter again.
    pipeline.replay().await;
    eventually(DEADLINE, async || pipeline.dead_letters().await.len() == 1).await;
    pipeline
        .execute("ALTER TABLE formline.responses DROP CONSTRAINT short")
        .await;
    pipeline.replay().await;
    ids.push(rejected);
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_constraint_that_is_checked_at_the_commit_dead_letters_no_row() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let mut ids = pipeline.submit_many(3).await;
    pipeline.expect(&ids).await;
    pipeline
        .execute(
            "CREATE TABLE formline.known (source text PRIMARY KEY);
         ALTER TABLE formline.responses ADD CONSTRAINT known FOREIGN KEY (source)
         REFERENCES formline.known DEFERRABLE INITIALLY DEFERRED NOT VALID",
        )
        .await;
    ids.extend(pipeline.submit_many(3).await);
    running.expect_stopped("23503").await;
    pipeline
        .execute("INSERT INTO formline.known VALUES ('/forms/student-data')")
        .await;
    pipeline.expect(&ids).await;
    assert_eq!(pipeline.dead_letters().await.len(), 0);
    running.stop().await;
}
