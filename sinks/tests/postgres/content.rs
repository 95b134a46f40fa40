//! What is stored, and what is recognised as stored already.

use formline_core::{
    EventId,
    event::{header, output_headers},
    record::{Headers, Partition, Record},
};
use formline_testing::eventually;
use jiff::{Timestamp, ToSpan as _};

use crate::line::{DEADLINE, FORM, Line, headers, submission};

#[tokio::test]
async fn a_row_says_everything_that_is_known_of_a_submission() {
    let line = Line::new().await;
    let running = line.start();
    let time: Timestamp = "2026-11-21T08:00:00.123456Z".parse().unwrap();
    let id = EventId::new();
    let value = r#"{"roll": "99999", "name": "Zoë", "cgpa": 3.10, "card": 12345678901234567890}"#;
    let attributes = submission(id, time, Some("99999")).headers();
    line.put(attributes, Some(value.as_bytes())).await;
    line.expect(&[id.to_string()]).await;
    let (source, origin, kind, subject, place): (String, String, String, String, String) =
        sqlx::query_as(
            "SELECT source, submission_id, type, subject,
                 kafka_topic || ' ' || (kafka_partition IN (0, 1)) || ' ' || kafka_offset
             FROM formline.responses
             WHERE accepted_at = '2026-11-21T08:00:00.123456Z' AND plugin IS NULL
             AND value ->> 'name' = 'Zoë' AND value ->> 'cgpa' = '3.10'
             AND value ->> 'card' = '12345678901234567890' AND stored_at > accepted_at - interval '10 years'",
        )
        .fetch_one(&mut line.connect().await)
        .await
        .unwrap();
    assert_eq!(source, format!("/forms/{FORM}"));
    assert_eq!(
        (origin, kind.as_str()),
        (id.to_string(), "formline.submission.accepted")
    );
    assert_eq!(
        (subject.as_str(), place),
        ("99999", format!("{} true 0", line.topic))
    );
    running.stop().await;
}

#[tokio::test]
async fn what_a_step_made_leads_back_to_its_submission() {
    let line = Line::new().await;
    let running = line.start();
    let origin = EventId::new();
    let partition = Partition {
        topic: "other".into(),
        number: 0,
    };
    let id = origin.to_string();
    let own = [(header::ID, id.as_bytes()), (header::SOURCE, b"/forms/f")];
    let input = Record::new(partition, 0, 0, None, None, &own);
    let made = output_headers(&input, "enrich", "enriched", 0, "enrich@1 sha256:0");
    line.put(made, Some(b"{}")).await;
    eventually(DEADLINE, async || line.ids().await.len() == 1).await;
    let (submission, plugin): (String, String) = sqlx::query_as(
        "SELECT submission_id, plugin FROM formline.responses WHERE id <> submission_id",
    )
    .fetch_one(&mut line.connect().await)
    .await
    .unwrap();
    assert_eq!((submission, plugin.as_str()), (id, "enrich@1 sha256:0"));
    running.stop().await;
}

#[tokio::test]
async fn records_of_foreign_producers_and_deletions_are_stored_too() {
    let line = Line::new().await;
    let running = line.start();
    line.put(Headers::with_capacity(0), Some(b"[1]")).await;
    line.put(Headers::with_capacity(1).with(header::ID, "gone"), None)
        .await;
    eventually(DEADLINE, async || line.ids().await.len() == 2).await;
    let mut stored = line.stored().await;
    stored.sort();
    let place = stored.iter().find(|row| row.0 != "gone").unwrap();
    assert!(
        place.0.starts_with(&format!("{}/", line.topic)),
        "{place:?}"
    );
    assert_eq!(place.2.as_deref(), Some("[1]"));
    let gone = stored.iter().find(|row| row.0 == "gone").unwrap();
    assert_eq!((gone.1.as_str(), &gone.2), ("", &None));
    running.stop().await;
}

#[tokio::test]
async fn a_repetition_within_a_day_is_dropped_and_the_next_use_of_the_key_is_stored() {
    let line = Line::new().await;
    let running = line.start();
    let (id, time) = (EventId::keyed(FORM, "key"), Timestamp::now());
    // Ingest answers the same key anew after a day. Out of order, as after a catch-up of two days.
    for hours in [0, 0, 2, 25, 26, 48] {
        let accepted = headers(id, time + hours.hours());
        line.put(accepted, Some(format!("{{\"hour\":{hours}}}").as_bytes()))
            .await;
    }
    line.expect_offsets(6).await;
    let values: Vec<_> = line.stored().await.into_iter().map(|row| row.2).collect();
    let mut values: Vec<_> = values.into_iter().flatten().collect();
    values.sort();
    assert_eq!(values, [r#"{"hour": 0}"#, r#"{"hour": 25}"#]);
    let sink = format!("{}.archive", line.app);
    let repeated = format!(r#"formline_sink_records_total{{outcome="repeated",sink="{sink}"}}"#);
    eventually(DEADLINE, async || running.metric(&repeated).await == 4.0).await;
    running.stop().await;
}

#[tokio::test]
async fn what_kafka_still_holds_is_read_again_when_the_offsets_are_gone() {
    let line = Line::new().await;
    let running = line.start();
    let ids = line.submit_many(20).await;
    line.expect(&ids).await;
    running.stop().await;
    line.execute("DELETE FROM formline.sink_offsets").await;
    let running = line.start();
    line.expect_offsets(20).await;
    line.expect(&ids).await;
    running.stop().await;
    line.execute("DROP SCHEMA formline CASCADE").await;
    let running = line.start();
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_topic_that_starts_over_is_read_from_its_beginning() {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = line.submit_many(20).await;
    line.expect_offsets(20).await;
    running.stop().await;
    line.execute("UPDATE formline.sink_offsets SET next = 1000")
        .await;
    let running = line.start();
    line.expect_offsets(20).await;
    ids.extend(line.submit_many(20).await);
    line.expect(&ids).await;
    running.stop().await;
}
