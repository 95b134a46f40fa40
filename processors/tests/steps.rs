//! Steps between topics: every input leads to its outputs exactly once, whatever happens in
//! between.
#![allow(clippy::unwrap_used, clippy::panic)]

mod pipeline;

use std::collections::{BTreeMap, BTreeSet};

use formline_core::{
    EventId, Record,
    dead_letter::{index::DeadLetterIndex, letter::DeadLetterOwner, replay::Replayer},
    event::header,
    kafka::topic,
};
use formline_testing::{Kafka, eventually};
use serde_json::{Value, json};

use self::pipeline::{Pipeline, SOON, columns, labels, student, text};

/// Two steps in a row: students become rows.
async fn chain() -> Pipeline {
    let mut pipeline = Pipeline::new(&["enrich", "rows"]).await;
    pipeline.form("students", 2).await;
    pipeline
        .step(
            "enrich",
            ("submissions", "students"),
            &[("enriched", "enriched")],
            labels(),
        )
        .await;
    pipeline
        .step(
            "rows",
            ("submissions", "enriched"),
            &[("rows", "rows")],
            columns(),
        )
        .await;
    pipeline
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_keeps_its_identity_in_two_steps() {
    let mut pipeline = chain().await;
    pipeline.start().await;
    let id = pipeline.submit("students", "7", &student(7)).await;

    let row = pipeline.wait_for("rows", 1).await.remove(0);
    assert_eq!(
        row.text_header(header::ORIGIN),
        Some(id.to_string().as_str())
    );
    assert_eq!(row.text_header(header::SOURCE), Some("/forms/students"));
    assert_eq!(row.text_header(header::TYPE), Some("formline.rows.rows"));
    assert_eq!(row.text_header(header::SUBJECT), Some("7"));
    let plugin = row.text_header(header::PLUGIN).unwrap();
    assert!(plugin.starts_with("rows@0.1.0 sha256:"), "{plugin}");
    let cells: Value = serde_json::from_str(&text(&row)).unwrap();
    assert!(cells.to_string().contains("Student 7 (7)"), "{cells}");

    let enriched = pipeline.records("enriched").remove(0);
    let derived = EventId::derived(id.to_string().as_bytes(), "enrich", "enriched", 0);
    assert_eq!(
        enriched.text_header(header::ID),
        Some(derived.to_string().as_str())
    );
    assert_eq!(
        enriched.text_header(header::TIME),
        row.text_header(header::TIME)
    );
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_duplicated_while_the_host_is_restarted_repeatedly() {
    const STUDENTS: usize = 300;
    let mut pipeline = chain().await;
    let mut sent = BTreeSet::new();
    pipeline.start().await;
    for roll in 0..STUDENTS {
        sent.insert(
            pipeline
                .submit("students", &roll.to_string(), &student(roll))
                .await
                .to_string(),
        );
        if roll % 60 == 59 {
            pipeline.stop().await;
            pipeline.start().await;
        }
    }
    let rows = pipeline.wait_for("rows", STUDENTS).await;
    pipeline.wait_until_passed().await;
    assert_eq!(pipeline.records("rows").len(), STUDENTS);
    let origins = rows
        .iter()
        .map(|row| row.text_header(header::ORIGIN).unwrap().to_owned());
    assert_eq!(origins.collect::<BTreeSet<_>>(), sent);
    pipeline.stop().await;
}

async fn submit_students(pipeline: &Pipeline, count: usize) {
    for roll in 0..count {
        pipeline
            .submit("students", &roll.to_string(), &student(roll))
            .await;
    }
}

/// The content of a record and its id, without its position and storage time in Kafka.
fn content(record: &Record) -> (Vec<u8>, Vec<u8>, Vec<String>) {
    let names = [header::ID, header::ORIGIN, header::TIME, header::PLUGIN];
    let headers = names.map(|name| record.text_header(name).unwrap().to_owned());
    let key = record.key().unwrap().to_vec();
    (key, record.value().unwrap().to_vec(), headers.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_events_result_in_the_same_records_with_the_same_ids() {
    const STUDENTS: usize = 60;
    let mut pipeline = Pipeline::new(&["enrich", "analytics"]).await;
    counting(&mut pipeline).await;
    let output = [("enriched", "enriched")];
    pipeline
        .step("enrich", ("submissions", "students"), &output, labels())
        .await;
    let students: Vec<String> = (0..STUDENTS).map(student).collect();
    pipeline.submit_all("students", "key", &students).await;
    pipeline.start().await;
    let mut again = pipeline.replica().await;
    // Other batches, and a restart in between.
    again.start().await;
    again.wait_for("counts", 1).await;
    again.stop().await;
    again.start().await;
    pipeline.wait_until_passed().await;
    again.wait_until_passed().await;
    for topic in ["enriched", "counts"] {
        let contents = |pipeline: &Pipeline| {
            let mut contents: Vec<_> = pipeline.records(topic).iter().map(content).collect();
            // Only records with the same key have a defined order, which a stable sort keeps.
            contents.sort_by(|one, other| one.0.cmp(&other.0));
            contents
        };
        assert_eq!(contents(&pipeline), contents(&again), "{topic}");
    }
    assert_eq!(pipeline.records("counts").len(), STUDENTS);
    pipeline.stop().await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_without_stores_reads_topics_with_different_numbers_of_partitions() {
    let mut pipeline = Pipeline::new(&["enrich"]).await;
    pipeline.form("many", 6).await;
    pipeline.form("few", 3).await;
    let output = [("enriched", "enriched")];
    let mut step = pipeline.describe("enrich", ("submissions", "many"), &output, labels());
    let topics = ["many", "few"].map(|name| pipeline.topic(name)).to_vec();
    step.input = [("submissions".to_owned(), topics)].into();
    // Different workers own the partitions of one number.
    step.workers = 2;
    pipeline.add(step).await;
    for round in 1..=2 {
        pipeline.start().await;
        for topic in ["many", "few"] {
            for roll in 0..12 {
                let key = format!("{topic} {roll} {round}");
                pipeline.submit_keyed(topic, &key, &student(roll)).await;
            }
        }
        pipeline.wait_for("enriched", 24 * round).await;
        pipeline.wait_until_passed().await;
        assert_eq!(pipeline.records("enriched").len(), 24 * round);
        pipeline.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_reach_the_end_of_topics_that_transactions_write_to() {
    let mut pipeline = chain().await;
    pipeline.start().await;
    submit_students(&pipeline, 20).await;
    pipeline.wait_for("rows", 20).await;
    pipeline.wait_until_passed().await;
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_submission_is_processed_once_even_after_a_restart() {
    let mut pipeline = chain().await;
    pipeline.start().await;
    pipeline.submit_keyed("students", "1", &student(1)).await;
    pipeline.submit_keyed("students", "1", &student(1)).await;
    pipeline.wait_for("rows", 1).await;
    pipeline.wait_until_passed().await;
    assert_eq!(
        pipeline
            .metric(&["formline_step_events_total", "enrich", "duplicate"])
            .await,
        1.0
    );
    pipeline.stop().await;
    pipeline.submit_keyed("students", "1", &student(1)).await;
    pipeline.start().await;
    pipeline.submit_keyed("students", "1", &student(1)).await;
    pipeline.submit_keyed("students", "2", &student(2)).await;
    pipeline.wait_for("rows", 2).await;
    pipeline.wait_until_passed().await;
    assert_eq!(pipeline.records("rows").len(), 2);
    pipeline.stop().await;
}

/// A step that counts the students of each partition in its store.
async fn counting(pipeline: &mut Pipeline) {
    pipeline.form("students", 2).await;
    let outputs = [("flagged", "flagged"), ("counts", "counts")];
    let config = json!({ "slang": ["dude"] });
    pipeline
        .step("analytics", ("submissions", "students"), &outputs, config)
        .await;
}

/// The number of all submissions according to the last count of each key.
fn counted(pipeline: &Pipeline) -> u64 {
    let mut last = BTreeMap::new();
    for record in pipeline.records("counts") {
        let count: Value = serde_json::from_str(&text(&record)).unwrap();
        last.insert(
            record.key().unwrap().to_vec(),
            count["submissions"].as_u64().unwrap(),
        );
    }
    last.values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn state_survives_a_restart() {
    let mut pipeline = Pipeline::new(&["analytics"]).await;
    counting(&mut pipeline).await;
    for round in 1..=3 {
        pipeline.start().await;
        submit_students(&pipeline, 10).await;
        pipeline.wait_for("counts", 10 * round).await;
        pipeline.stop().await;
    }
    assert_eq!(counted(&pipeline), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_waits_for_open_transactions_and_a_stop_during_it_publishes_nothing() {
    let mut pipeline = Pipeline::new(&["analytics"]).await;
    counting(&mut pipeline).await;
    pipeline.start().await;
    submit_students(&pipeline, 10).await;
    pipeline.wait_for("counts", 10).await;
    pipeline.stop().await;
    let changelog = topic::state(&pipeline.app, "analytics");
    let open = pipeline.hold_open(&changelog, 0).await;
    submit_students(&pipeline, 10).await;
    pipeline.spawn();
    eventually(SOON, async || {
        pipeline.health().await.contains("restoring state")
    })
    .await;
    pipeline.stop().await;
    assert_eq!(pipeline.records("counts").len(), 10);
    pipeline.spawn();
    eventually(SOON, async || {
        pipeline.health().await.contains("restoring state")
    })
    .await;
    pipeline.end(open);
    pipeline.wait_for("counts", 20).await;
    assert_eq!(counted(&pipeline), 20);
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_join_and_leave_hand_over_partitions_with_their_state() {
    let mut pipeline = Pipeline::new(&["analytics"]).await;
    counting(&mut pipeline).await;
    pipeline.start().await;
    let mut sent = 0;
    let mut feed = async |pipeline: &Pipeline, count: usize| {
        for _ in 0..count {
            pipeline
                .submit("students", &sent.to_string(), &student(sent))
                .await;
            sent += 1;
        }
        sent
    };
    feed(&pipeline, 50).await;
    let first = pipeline.leave();
    pipeline.spawn_as("other");
    feed(&pipeline, 50).await;
    eventually(SOON, async || pipeline.is_ready()).await;
    feed(&pipeline, 50).await;
    pipeline.stop_other(first).await;
    let sent = feed(&pipeline, 50).await;
    pipeline.wait_for("counts", sent).await;
    pipeline.wait_until_passed().await;
    assert_eq!(pipeline.records("counts").len(), sent);
    assert_eq!(counted(&pipeline), sent as u64);
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_recovers_after_kafka_was_killed() {
    let mut kafka = Kafka::start_own().await;
    let mut pipeline = Pipeline::on(&kafka, &["analytics"]);
    counting(&mut pipeline).await;
    pipeline.start().await;
    for round in 1..=3 {
        submit_students(&pipeline, 20).await;
        // The first time while the step is processing, then when it has finished.
        if round > 1 {
            pipeline.wait_for("counts", 20 * round).await;
        }
        kafka.kill();
        kafka.restart().await;
    }
    pipeline.wait_for("counts", 60).await;
    pipeline.wait_until_passed().await;
    assert_eq!(pipeline.records("counts").len(), 60);
    assert_eq!(counted(&pipeline), 60);
    eventually(SOON, async || pipeline.is_working().await).await;
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_the_partitions() {
    let mut pipeline = Pipeline::new(&["enrich"]).await;
    pipeline.form("students", 4).await;
    let mut step = pipeline.describe(
        "enrich",
        ("submissions", "students"),
        &[("enriched", "enriched")],
        labels(),
    );
    step.workers = 2;
    pipeline.add(step).await;
    pipeline.start().await;
    submit_students(&pipeline, 40).await;
    pipeline.wait_for("enriched", 40).await;
    pipeline.wait_until_passed().await;
    assert_eq!(pipeline.records("enriched").len(), 40);
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_without_its_plug_in_does_not_start() {
    let mut pipeline = Pipeline::new(&["rows"]).await;
    pipeline.form("students", 1).await;
    pipeline
        .step(
            "enrich",
            ("submissions", "students"),
            &[("enriched", "enriched")],
            labels(),
        )
        .await;
    pipeline.spawn();
    let error = pipeline.failure().await;
    assert!(error.is_stop());
    assert!(error.to_string().contains("no plug-in `enrich`"), "{error}");
    assert!(error.to_string().contains("there are rows"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_the_same_name_stops_the_first() {
    let mut pipeline = chain().await;
    pipeline.start().await;
    let first = pipeline.leave();
    pipeline.start().await;
    let error = pipeline.failure_of(first).await;
    assert!(error.is_stop(), "{error}");
    assert!(error.to_string().contains("FORMLINE_INSTANCE"), "{error}");
    pipeline.submit("students", "7", &student(7)).await;
    pipeline.wait_for("rows", 1).await;
    pipeline.stop().await;
}

/// A step `work` that rejects deeply nested submissions, and another one that reads the same topic.
async fn strict() -> Pipeline {
    let mut pipeline = Pipeline::new(&["analytics", "enrich"]).await;
    pipeline.form("students", 2).await;
    let outputs = [("flagged", "flagged"), ("counts", "counts")];
    let config = json!({ "slang": ["dude"] });
    let mut strict = pipeline.describe("analytics", ("submissions", "students"), &outputs, config);
    strict.name = "work".to_owned();
    pipeline.add(strict).await;
    let outputs = [("enriched", "other")];
    pipeline
        .step("enrich", ("submissions", "students"), &outputs, labels())
        .await;
    pipeline
}

/// Replaces the plug-in of `work` with one that accepts everything.
async fn fix(pipeline: &mut Pipeline) {
    let outputs = [("enriched", "worked")];
    let mut fixed = pipeline.describe("enrich", ("submissions", "students"), &outputs, labels());
    fixed.name = "work".to_owned();
    pipeline.stop().await;
    pipeline.replace(fixed).await;
    pipeline.start().await;
}

fn nested() -> String {
    format!(
        r#"{{"name":"Nested","roll":"1","a":{}{}}}"#,
        "[".repeat(40),
        "]".repeat(40)
    )
}

/// Replays every open dead letter of `work`.
fn replay(pipeline: &Pipeline) -> usize {
    let owner = DeadLetterOwner {
        app: pipeline.app.clone(),
        step: "work".to_owned(),
        topics: vec![pipeline.topic("students")],
    };
    let index = DeadLetterIndex::read(&pipeline.client, owner.clone()).unwrap();
    let letters = index
        .dead_letters(&pipeline.client, 0)
        .unwrap()
        .map(Result::unwrap);
    let open = letters.filter(|letter| index.closed(letter.id.offset).is_none());
    let mut replayer = Replayer::open(&pipeline.client, owner).unwrap();
    open.map(|letter| replayer.replay(&letter).unwrap()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_dead_letter_is_processed_once_and_only_by_its_own_step() {
    let mut pipeline = strict().await;
    pipeline.start().await;
    let id = pipeline.submit("students", "1", &nested()).await;
    pipeline.wait_for_dead_letters("work", 1).await;
    // The plug-in is not fixed yet, so the event fails and is dead-lettered again.
    assert_eq!(replay(&pipeline), 1);
    let dead_letters = pipeline.wait_for_dead_letters("work", 3).await;
    assert_eq!(
        dead_letters[2].text_header("dead-letter-reason"),
        Some("too-deep")
    );
    assert_eq!(
        dead_letters[2].text_header("dead-letter-attempts"),
        Some("1")
    );
    fix(&mut pipeline).await;
    assert_eq!(replay(&pipeline), 1);
    let worked = pipeline.wait_for("worked", 1).await.remove(0);
    pipeline.wait_until_passed().await;
    assert_eq!(pipeline.records("worked").len(), 1);
    let derived = EventId::derived(id.to_string().as_bytes(), "work", "enriched", 0);
    let derived = derived.to_string();
    assert_eq!(worked.text_header(header::ID), Some(derived.as_str()));
    assert_eq!(worked.text_header(header::REPLAY_FOR), None);
    assert_eq!(pipeline.records("students").len(), 3);
    assert_eq!(
        pipeline.records("other").len(),
        1,
        "the other step has processed the record before"
    );
    assert_eq!(replay(&pipeline), 0);
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_keyed_submission_is_not_a_repetition_but_later_repetitions_are() {
    let mut pipeline = strict().await;
    pipeline.start().await;
    pipeline.submit_keyed("students", "1", &nested()).await;
    pipeline.wait_for_dead_letters("work", 1).await;
    fix(&mut pipeline).await;
    assert_eq!(replay(&pipeline), 1);
    pipeline.wait_for("worked", 1).await;
    pipeline.submit_keyed("students", "1", &nested()).await;
    pipeline.wait_until_passed().await;
    pipeline.stop().await;
    pipeline.submit_keyed("students", "1", &nested()).await;
    pipeline.start().await;
    pipeline.wait_until_passed().await;
    assert_eq!(pipeline.records("worked").len(), 1);
    assert_eq!(pipeline.records("other").len(), 1);
    pipeline.stop().await;
}
