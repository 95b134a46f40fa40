//! The content of rows, and the detection of duplicates.

use formline_core::{
    EventId,
    event::{header, output_headers},
    kafka::record::{Headers, Partition, Record},
};
use formline_testing::eventually;
use jiff::{Timestamp, ToSpan as _};

use crate::pipeline::{DEADLINE, FORM, Pipeline, headers, submission};

#[tokio::test]
async fn a_row_contains_everything_that_is_known_of_a_submission() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let time: Timestamp = "2026-11-21T08:00:00.123456Z".parse().unwrap();
    let id = EventId::new();
    let value = r#"{"roll": "99999", "name": "Zoë", "cgpa": 3.10, "card": 12345678901234567890}"#;
    let attributes = submission(id, time, Some("99999")).headers();
    pipeline.put(attributes, Some(value.as_bytes())).await;
    pipeline.expect(&[id.to_string()]).await;
    let (source, origin, kind, subject, position): (String, String, String, String, String) =
        sqlx::query_as(
            "SELECT source, submission_id, type, subject,
                 kafka_topic || ' ' || (kafka_partition IN (0, 1)) || ' ' || kafka_offset
             FROM formline.responses
             WHERE accepted_at = '2026-11-21T08:00:00.123456Z' AND plugin IS NULL
             AND value ->> 'name' = 'Zoë' AND value ->> 'cgpa' = '3.10'
             AND value ->> 'card' = '12345678901234567890' AND stored_at > accepted_at - interval '10 years'",
        )
        .fetch_one(&mut pipeline.connect().await)
        .await
        .unwrap();
    assert_eq!(source, format!("/forms/{FORM}"));
    assert_eq!(
        (origin, kind.as_str()),
        (id.to_string(), "formline.submission.accepted")
    );
    assert_eq!(
        (subject.as_str(), position),
        ("99999", format!("{} true 0", pipeline.topic))
    );
    running.stop().await;
}

#[tokio::test]
async fn a_row_of_a_step_names_its_submission() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let origin = EventId::new();
    let partition = Partition {
        topic: "other".into(),
        number: 0,
    };
    let id = origin.to_string();
    let own = [(header::ID, id.as_bytes()), (header::SOURCE, b"/forms/f")];
    let input = Record::new(partition, 0, 0, None, None, &own);
    let derived = output_headers(&input, "enrich", "enriched", 0, "enrich@1 sha256:0");
    pipeline.put(derived, Some(b"{}")).await;
    eventually(DEADLINE, async || pipeline.ids().await.len() == 1).await;
    let (submission, plugin): (String, String) = sqlx::query_as(
        "SELECT submission_id, plugin FROM formline.responses WHERE id <> submission_id",
    )
    .fetch_one(&mut pipeline.connect().await)
    .await
    .unwrap();
    assert_eq!((submission, plugin.as_str()), (id, "enrich@1 sha256:0"));
    running.stop().await;
}

#[tokio::test]
async fn records_of_other_producers_and_deletions_are_stored() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    pipeline.put(Headers::with_capacity(0), Some(b"[1]")).await;
    pipeline
        .put(Headers::with_capacity(1).with(header::ID, "gone"), None)
        .await;
    eventually(DEADLINE, async || pipeline.ids().await.len() == 2).await;
    let mut stored = pipeline.stored().await;
    stored.sort();
    let foreign = stored.iter().find(|row| row.0 != "gone").unwrap();
    assert!(
        foreign.0.starts_with(&format!("{}/", pipeline.topic)),
        "{foreign:?}"
    );
    assert_eq!(foreign.2.as_deref(), Some("[1]"));
    let gone = stored.iter().find(|row| row.0 == "gone").unwrap();
    assert_eq!((gone.1.as_str(), &gone.2), ("", &None));
    running.stop().await;
}

#[tokio::test]
async fn a_duplicate_within_a_day_is_dropped_and_a_later_use_of_the_key_is_stored() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let (id, time) = (EventId::keyed(FORM, "key"), Timestamp::now());
    // Ingest accepts a key again after a day. The order is that of a catch-up after two days.
    for hours in [0, 0, 2, 25, 26, 48] {
        let accepted = headers(id, time + hours.hours());
        pipeline
            .put(accepted, Some(format!("{{\"hour\":{hours}}}").as_bytes()))
            .await;
    }
    pipeline.expect_offsets(6).await;
    let values: Vec<_> = pipeline
        .stored()
        .await
        .into_iter()
        .map(|row| row.2)
        .collect();
    let mut values: Vec<_> = values.into_iter().flatten().collect();
    values.sort();
    assert_eq!(values, [r#"{"hour": 0}"#, r#"{"hour": 25}"#]);
    let sink = format!("{}.archive", pipeline.app);
    let repeated = format!(r#"formline_sink_records_total{{outcome="repeated",sink="{sink}"}}"#);
    eventually(DEADLINE, async || running.metric(&repeated).await == 4.0).await;
    running.stop().await;
}

#[tokio::test]
async fn deleted_offsets_cause_a_new_read_of_everything_in_kafka() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let ids = pipeline.submit_many(20).await;
    pipeline.expect(&ids).await;
    running.stop().await;
    pipeline.execute("DELETE FROM formline.sink_offsets").await;
    let running = pipeline.start();
    pipeline.expect_offsets(20).await;
    pipeline.expect(&ids).await;
    running.stop().await;
    pipeline.execute("DROP SCHEMA formline CASCADE").await;
    let running = pipeline.start();
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_topic_with_smaller_offsets_is_read_from_its_beginning() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let mut ids = pipeline.submit_many(20).await;
    pipeline.expect_offsets(20).await;
    running.stop().await;
    pipeline
        .execute("UPDATE formline.sink_offsets SET next = 1000")
        .await;
    let running = pipeline.start();
    pipeline.expect_offsets(20).await;
    ids.extend(pipeline.submit_many(20).await);
    pipeline.expect(&ids).await;
    running.stop().await;
}
