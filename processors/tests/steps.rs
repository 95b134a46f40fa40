//! Steps between topics: what goes in comes out once, whatever happens in between.
#![allow(clippy::unwrap_used, clippy::panic)]

mod line;

use std::collections::{BTreeMap, BTreeSet};

use formline_core::{
    EventId, Record,
    event::header,
    ledger::{DeadLetters, Ledger},
    settlement::Settler,
    topic,
};
use formline_testing::{Kafka, eventually};
use serde_json::{Value, json};

use self::line::{Line, SOON, columns, labels, student, text};

/// Two steps in a row: students come out as rows.
async fn chain() -> Line {
    let mut line = Line::new(&["enrich", "rows"]).await;
    line.form("students", 2).await;
    line.step(
        "enrich",
        ("submissions", "students"),
        &[("enriched", "enriched")],
        labels(),
    )
    .await;
    line.step(
        "rows",
        ("submissions", "enriched"),
        &[("rows", "rows")],
        columns(),
    )
    .await;
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_passes_two_steps_and_keeps_its_identity() {
    let mut line = chain().await;
    line.start().await;
    let id = line.submit("students", "7", &student(7)).await;

    let row = line.wait_for("rows", 1).await.remove(0);
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

    let enriched = line.records("enriched").remove(0);
    let derived = EventId::derived(id.to_string().as_bytes(), "enrich", "enriched", 0);
    assert_eq!(
        enriched.text_header(header::ID),
        Some(derived.to_string().as_str())
    );
    assert_eq!(
        enriched.text_header(header::TIME),
        row.text_header(header::TIME)
    );
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_the_host_is_restarted_again_and_again() {
    const STUDENTS: usize = 300;
    let mut line = chain().await;
    let mut sent = BTreeSet::new();
    line.start().await;
    for roll in 0..STUDENTS {
        sent.insert(
            line.submit("students", &roll.to_string(), &student(roll))
                .await
                .to_string(),
        );
        if roll % 60 == 59 {
            line.stop().await;
            line.start().await;
        }
    }
    let rows = line.wait_for("rows", STUDENTS).await;
    line.wait_until_passed().await;
    assert_eq!(line.records("rows").len(), STUDENTS);
    let origins = rows
        .iter()
        .map(|row| row.text_header(header::ORIGIN).unwrap().to_owned());
    assert_eq!(origins.collect::<BTreeSet<_>>(), sent);
    line.stop().await;
}

/// What a record says, its id included, without where and when Kafka has stored it.
fn content(record: &Record) -> (Vec<u8>, Vec<u8>, Vec<String>) {
    let names = [header::ID, header::ORIGIN, header::TIME, header::PLUGIN];
    let headers = names.map(|name| record.text_header(name).unwrap().to_owned());
    let key = record.key().unwrap().to_vec();
    (key, record.value().unwrap().to_vec(), headers.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_events_lead_to_the_same_records_with_the_same_ids() {
    const STUDENTS: usize = 60;
    let mut line = Line::new(&["enrich", "analytics"]).await;
    counting(&mut line).await;
    let output = [("enriched", "enriched")];
    line.step("enrich", ("submissions", "students"), &output, labels())
        .await;
    let students: Vec<String> = (0..STUDENTS).map(student).collect();
    line.submit_all("students", "key", &students).await;
    line.start().await;
    let mut again = line.replica().await;
    // Other batches, and a restart among them.
    again.start().await;
    again.wait_for("counts", 1).await;
    again.stop().await;
    again.start().await;
    line.wait_until_passed().await;
    again.wait_until_passed().await;
    for topic in ["enriched", "counts"] {
        let contents = |line: &Line| {
            let mut contents: Vec<_> = line.records(topic).iter().map(content).collect();
            // Only records of one key have an order; it stays.
            contents.sort_by(|one, other| one.0.cmp(&other.0));
            contents
        };
        assert_eq!(contents(&line), contents(&again), "{topic}");
    }
    assert_eq!(line.records("counts").len(), STUDENTS);
    line.stop().await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_without_stores_reads_topics_of_unequal_partitions() {
    let mut line = Line::new(&["enrich"]).await;
    line.form("many", 6).await;
    line.form("few", 3).await;
    let output = [("enriched", "enriched")];
    let mut step = line.describe("enrich", ("submissions", "many"), &output, labels());
    let topics = ["many", "few"].map(|name| line.topic(name)).to_vec();
    step.input = [("submissions".to_owned(), topics)].into();
    // The partitions of one number are with different workers.
    step.workers = 2;
    line.add(step).await;
    for round in 1..=2 {
        line.start().await;
        for topic in ["many", "few"] {
            for roll in 0..12 {
                let key = format!("{topic} {roll} {round}");
                line.submit_keyed(topic, &key, &student(roll)).await;
            }
        }
        line.wait_for("enriched", 24 * round).await;
        line.wait_until_passed().await;
        assert_eq!(line.records("enriched").len(), 24 * round);
        line.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_reach_the_end_of_topics_that_transactions_write_to() {
    let mut line = chain().await;
    line.start().await;
    for roll in 0..20 {
        line.submit("students", &roll.to_string(), &student(roll))
            .await;
    }
    line.wait_for("rows", 20).await;
    line.wait_until_passed().await;
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_submission_counts_once_also_after_a_restart() {
    let mut line = chain().await;
    line.start().await;
    line.submit_keyed("students", "1", &student(1)).await;
    line.submit_keyed("students", "1", &student(1)).await;
    line.wait_for("rows", 1).await;
    line.wait_until_passed().await;
    assert_eq!(
        line.metric(&["formline_step_events_total", "enrich", "duplicate"])
            .await,
        1.0
    );
    line.stop().await;
    line.submit_keyed("students", "1", &student(1)).await;
    line.start().await;
    line.submit_keyed("students", "1", &student(1)).await;
    line.submit_keyed("students", "2", &student(2)).await;
    line.wait_for("rows", 2).await;
    line.wait_until_passed().await;
    assert_eq!(line.records("rows").len(), 2);
    line.stop().await;
}

/// A step that counts the students of each partition in its store.
async fn counting(line: &mut Line) {
    line.form("students", 2).await;
    let outputs = [("flagged", "flagged"), ("counts", "counts")];
    let config = json!({ "slang": ["dude"] });
    line.step("analytics", ("submissions", "students"), &outputs, config)
        .await;
}

/// All submissions, by what the last count of each key says.
fn counted(line: &Line) -> u64 {
    let mut last = BTreeMap::new();
    for record in line.records("counts") {
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
    let mut line = Line::new(&["analytics"]).await;
    counting(&mut line).await;
    for round in 1..=3 {
        line.start().await;
        for roll in 0..10 {
            line.submit("students", &roll.to_string(), &student(roll))
                .await;
        }
        line.wait_for("counts", 10 * round).await;
        line.stop().await;
    }
    assert_eq!(counted(&line), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_waits_for_open_transactions_and_a_stop_during_it_publishes_nothing() {
    let mut line = Line::new(&["analytics"]).await;
    counting(&mut line).await;
    line.start().await;
    for roll in 0..10 {
        line.submit("students", &roll.to_string(), &student(roll))
            .await;
    }
    line.wait_for("counts", 10).await;
    line.stop().await;
    let changelog = topic::state(&line.app, "analytics");
    let open = line.hold_open(&changelog, 0).await;
    for roll in 0..10 {
        line.submit("students", &roll.to_string(), &student(roll))
            .await;
    }
    line.spawn();
    eventually(SOON, async || {
        line.health().await.contains("restoring state")
    })
    .await;
    line.stop().await;
    assert_eq!(line.records("counts").len(), 10);
    line.spawn();
    eventually(SOON, async || {
        line.health().await.contains("restoring state")
    })
    .await;
    line.end(open);
    line.wait_for("counts", 20).await;
    assert_eq!(counted(&line), 20);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_come_and_go_hand_partitions_with_their_state_over() {
    let mut line = Line::new(&["analytics"]).await;
    counting(&mut line).await;
    line.start().await;
    let mut sent = 0;
    let mut feed = async |line: &Line, count: usize| {
        for _ in 0..count {
            line.submit("students", &sent.to_string(), &student(sent))
                .await;
            sent += 1;
        }
        sent
    };
    feed(&line, 50).await;
    let first = line.leave();
    line.spawn_as("other");
    feed(&line, 50).await;
    eventually(SOON, async || line.is_ready()).await;
    feed(&line, 50).await;
    line.stop_other(first).await;
    let sent = feed(&line, 50).await;
    line.wait_for("counts", sent).await;
    line.wait_until_passed().await;
    assert_eq!(line.records("counts").len(), sent);
    assert_eq!(counted(&line), sent as u64);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_catches_up_by_itself_after_kafka_was_killed() {
    let mut kafka = Kafka::start_own().await;
    let mut line = Line::on(&kafka, &["analytics"]);
    counting(&mut line).await;
    line.start().await;
    for round in 1..=3 {
        for roll in 0..20 {
            line.submit("students", &roll.to_string(), &student(roll))
                .await;
        }
        // The first time in the middle of the work, then when it is done.
        if round > 1 {
            line.wait_for("counts", 20 * round).await;
        }
        kafka.kill();
        kafka.restart().await;
    }
    line.wait_for("counts", 60).await;
    line.wait_until_passed().await;
    assert_eq!(line.records("counts").len(), 60);
    assert_eq!(counted(&line), 60);
    eventually(SOON, async || line.is_working().await).await;
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_the_partitions() {
    let mut line = Line::new(&["enrich"]).await;
    line.form("students", 4).await;
    let mut step = line.describe(
        "enrich",
        ("submissions", "students"),
        &[("enriched", "enriched")],
        labels(),
    );
    step.workers = 2;
    line.add(step).await;
    line.start().await;
    for roll in 0..40 {
        line.submit("students", &roll.to_string(), &student(roll))
            .await;
    }
    line.wait_for("enriched", 40).await;
    line.wait_until_passed().await;
    assert_eq!(line.records("enriched").len(), 40);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_without_its_plug_in_does_not_start() {
    let mut line = Line::new(&["rows"]).await;
    line.form("students", 1).await;
    line.step(
        "enrich",
        ("submissions", "students"),
        &[("enriched", "enriched")],
        labels(),
    )
    .await;
    line.spawn();
    let error = line.failure().await;
    assert!(error.is_stop());
    assert!(error.to_string().contains("no plug-in `enrich`"), "{error}");
    assert!(error.to_string().contains("there are rows"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_the_same_name_stops_the_first() {
    let mut line = chain().await;
    line.start().await;
    let first = line.leave();
    line.start().await;
    let error = line.failure_of(first).await;
    assert!(error.is_stop(), "{error}");
    assert!(error.to_string().contains("FORMLINE_INSTANCE"), "{error}");
    line.submit("students", "7", &student(7)).await;
    line.wait_for("rows", 1).await;
    line.stop().await;
}

/// A step `work` that rejects what is nested too deep, and another one that reads the same topic.
async fn strict() -> Line {
    let mut line = Line::new(&["analytics", "enrich"]).await;
    line.form("students", 2).await;
    let outputs = [("flagged", "flagged"), ("counts", "counts")];
    let config = json!({ "slang": ["dude"] });
    let mut strict = line.describe("analytics", ("submissions", "students"), &outputs, config);
    strict.name = "work".to_owned();
    line.add(strict).await;
    let outputs = [("enriched", "other")];
    line.step("enrich", ("submissions", "students"), &outputs, labels())
        .await;
    line
}

/// Gives `work` a plug-in that takes everything.
async fn mend(line: &mut Line) {
    let outputs = [("enriched", "worked")];
    let mut mended = line.describe("enrich", ("submissions", "students"), &outputs, labels());
    mended.name = "work".to_owned();
    line.stop().await;
    line.replace(mended).await;
    line.start().await;
}

fn nested() -> String {
    format!(
        r#"{{"name":"Nested","roll":"1","a":{}{}}}"#,
        "[".repeat(40),
        "]".repeat(40)
    )
}

/// Replays every open letter of `work`.
fn replay(line: &Line) -> usize {
    let owner = DeadLetters {
        app: line.app.clone(),
        step: "work".to_owned(),
        topics: vec![line.topic("students")],
    };
    let ledger = Ledger::read(&line.client, owner.clone()).unwrap();
    let letters = ledger.letters(&line.client, 0).unwrap().map(Result::unwrap);
    let open = letters.filter(|letter| ledger.closed(letter.id.offset).is_none());
    let mut settler = Settler::open(&line.client, owner).unwrap();
    open.map(|letter| settler.replay(&letter).unwrap()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_dead_letter_passes_the_mended_step_once_and_no_other() {
    let mut line = strict().await;
    line.start().await;
    let id = line.submit("students", "1", &nested()).await;
    line.wait_for_dead_letters("work", 1).await;
    // Not mended yet: it fails again, and is a letter again.
    assert_eq!(replay(&line), 1);
    let parked = line.wait_for_dead_letters("work", 3).await;
    assert_eq!(
        parked[2].text_header("dead-letter-reason"),
        Some("too-deep")
    );
    assert_eq!(parked[2].text_header("dead-letter-attempts"), Some("1"));
    mend(&mut line).await;
    assert_eq!(replay(&line), 1);
    let worked = line.wait_for("worked", 1).await.remove(0);
    line.wait_until_passed().await;
    assert_eq!(line.records("worked").len(), 1);
    let derived = EventId::derived(id.to_string().as_bytes(), "work", "enriched", 0);
    let derived = derived.to_string();
    assert_eq!(worked.text_header(header::ID), Some(derived.as_str()));
    assert_eq!(worked.text_header(header::REPLAY_FOR), None);
    assert_eq!(line.records("students").len(), 3);
    assert_eq!(
        line.records("other").len(),
        1,
        "it has had the record before"
    );
    assert_eq!(replay(&line), 0);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_keyed_submission_is_no_repetition_and_lets_none_through() {
    let mut line = strict().await;
    line.start().await;
    line.submit_keyed("students", "1", &nested()).await;
    line.wait_for_dead_letters("work", 1).await;
    mend(&mut line).await;
    assert_eq!(replay(&line), 1);
    line.wait_for("worked", 1).await;
    line.submit_keyed("students", "1", &nested()).await;
    line.wait_until_passed().await;
    line.stop().await;
    line.submit_keyed("students", "1", &nested()).await;
    line.start().await;
    line.wait_until_passed().await;
    assert_eq!(line.records("worked").len(), 1);
    assert_eq!(line.records("other").len(), 1);
    line.stop().await;
}
