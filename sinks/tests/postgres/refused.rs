//! Records that PostgreSQL does not take: each is parked with the reason, and the others are stored.

use formline_core::{EventId, event::header};
use jiff::Timestamp;

use crate::line::{DEADLINE, Line, headers, submission};
use formline_testing::eventually;

#[tokio::test]
async fn bad_rows_are_found_among_good_ones_and_parked() {
    let line = Line::new().await;
    let mut ids = Vec::new();
    let deep = "[".repeat(100_000);
    let bad = [
        (r#"{"name":"\u0000"}"#, "22P05"),
        (r#"{"name":"\ud800"}"#, "22P02"),
        ("no json", "22P02"),
        ("1e1000000", "22"),
        (deep.as_str(), "54001"),
        ("", "22P02"),
    ];
    for (value, _) in bad {
        ids.extend(line.submit_many(30).await);
        line.submit(value).await;
    }
    let now = Timestamp::now();
    let (nul, long) = ("a\0b", "x".repeat(10_000));
    let subject = submission(EventId::new(), now, Some(nul));
    line.put(subject.headers(), Some(b"{}")).await;
    // The last header of a name counts. Letters do not repeat, or the index would pack them.
    let digits: String = (0..3_000).map(|n| n.to_string()).collect();
    line.put(
        headers(EventId::new(), now).with(header::ID, digits),
        Some(b"{}"),
    )
    .await;
    line.put(headers(EventId::new(), now), Some(b"\"\xff\""))
        .await;
    let subject = submission(EventId::new(), now, Some(&long));
    ids.push(subject.id.to_string());
    line.put(subject.headers(), Some(b"{}")).await;

    let running = line.start();
    line.expect(&ids).await;
    eventually(DEADLINE, async || line.dead_letters().await.len() == 9).await;
    let letters = line.dead_letters().await;
    for (value, code) in bad {
        let is_it = |letter: &&_| value_of(letter) == value.as_bytes();
        let letter = letters.iter().find(is_it).unwrap();
        assert_eq!(letter.reason(), "refused");
        assert!(letter.detail().contains(code), "{}", letter.detail());
    }
    let reasons = |reason: &str| letters.iter().filter(|one| one.reason() == reason).count();
    assert_eq!((reasons("refused"), reasons("malformed")), (8, 1));
    line.expect_offsets(6 * 31 + 4).await;
    running.stop().await;
}

fn value_of(letter: &formline_core::letter::Letter) -> &[u8] {
    letter.value().unwrap_or_default()
}

#[tokio::test]
async fn a_dead_letter_that_is_replayed_is_stored_once() {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = line.submit_many(3).await;
    line.expect(&ids).await;
    line.execute(
        "ALTER TABLE formline.responses ADD CONSTRAINT short CHECK (length(value::text) < 50)",
    )
    .await;
    let long = format!("\"{}\"", "x".repeat(50));
    let refused = line.submit(&long).await;
    eventually(DEADLINE, async || line.dead_letters().await.len() == 1).await;
    assert!(line.dead_letters().await[0].detail().contains("23514"));

    // Still refused: it is a dead letter once more.
    line.replay().await;
    eventually(DEADLINE, async || line.dead_letters().await.len() == 1).await;
    line.execute("ALTER TABLE formline.responses DROP CONSTRAINT short")
        .await;
    line.replay().await;
    ids.push(refused);
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_constraint_that_is_checked_at_the_commit_parks_nobody() {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = line.submit_many(3).await;
    line.expect(&ids).await;
    line.execute(
        "CREATE TABLE formline.known (source text PRIMARY KEY);
         ALTER TABLE formline.responses ADD CONSTRAINT known FOREIGN KEY (source)
         REFERENCES formline.known DEFERRABLE INITIALLY DEFERRED NOT VALID",
    )
    .await;
    ids.extend(line.submit_many(3).await);
    running.expect_stopped("23503").await;
    line.execute("INSERT INTO formline.known VALUES ('/forms/student-data')")
        .await;
    line.expect(&ids).await;
    assert_eq!(line.dead_letters().await.len(), 0);
    running.stop().await;
}
