//! A plug-in that violates the contract affects only the event that caused the violation.
#![allow(clippy::unwrap_used, clippy::panic)]

mod pipeline;

use std::time::Duration;

use formline_core::kafka::record::Headers;
use formline_testing::eventually;
use serde_json::{Value, json};

use self::pipeline::{Pipeline, SOON, labels, student, text, texts, texts_of};

/// One step that does what its events say. It has one partition, so that all events share a batch.
async fn misbehaving() -> Pipeline {
    misbehaving_within(Duration::from_millis(300)).await
}

/// Like [`misbehaving`], with another time limit for each event.
async fn misbehaving_within(time: Duration) -> Pipeline {
    let mut pipeline = Pipeline::new(&["misbehave"]).await;
    pipeline.form("in", 1).await;
    let mut step = pipeline.describe("misbehave", ("in", "in"), &[("out", "out")], json!({}));
    step.limits.event = time;
    pipeline.add(step).await;
    pipeline
}

async fn submit(pipeline: &Pipeline, values: &[&str]) {
    for value in values {
        pipeline.submit("in", "key", value).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_traps_is_dead_lettered_with_its_reason_and_its_neighbours_pass() {
    let cases = [
        ("panic", "unreachable", "the event says so"),
        ("loop", "deadline", "time limit"),
        ("host-calls", "deadline", "time limit"),
        ("memory", "out-of-memory", "unreachable"),
        ("recursion", "stack-overflow", "call stack exhausted"),
        ("exit", "exit", "3"),
        ("sleep", "contract", "cannot sleep"),
        ("past", "contract", "before 1970"),
    ];
    let mut pipeline = misbehaving().await;
    submit(&pipeline, &["ok first"]).await;
    for (value, ..) in cases {
        submit(&pipeline, &[value, &format!("ok after {value}")]).await;
    }
    pipeline.start().await;
    let dead_letters = pipeline
        .wait_for_dead_letters("misbehave", cases.len())
        .await;
    pipeline.wait_until_passed().await;
    for (record, (value, reason, detail)) in dead_letters.iter().zip(cases) {
        assert_eq!(text(record), value);
        assert_eq!(record.text_header("dead-letter-reason"), Some(reason));
        assert_eq!(
            record.text_header("dead-letter-attempts"),
            Some("2"),
            "{value}"
        );
        let found = record.text_header("dead-letter-detail").unwrap();
        assert!(found.contains(detail), "{value}: {found}");
        assert!(found.contains("wasm backtrace"), "{value}: {found}");
    }
    let passed = texts(&pipeline.records("out"));
    assert_eq!(passed.len(), cases.len() + 1, "{passed:?}");
    assert!(
        passed.iter().all(|value| value.starts_with("ok")),
        "{passed:?}"
    );
    assert_eq!(pipeline.changelog("misbehave").len(), passed.len());
    let traps = ["formline_plugin_traps_total", "deadline"];
    assert_eq!(pipeline.metric(&traps).await, 4.0);
    let worked = ["formline_plugin_counter_total", "worked"];
    assert_eq!(pipeline.metric(&worked).await, (cases.len() + 1) as f64);
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_stores_reject_new_entries_and_accept_replacements() {
    let mut pipeline = Pipeline::new(&["misbehave"]).await;
    pipeline.form("in", 1).await;
    let output = [("out", "out")];
    let mut step = pipeline.describe("misbehave", ("in", "in"), &output, json!({}));
    step.limits.state = 1 << 20;
    pipeline.add(step).await;
    // The text of an event is the key of its entry.
    let texts: Vec<String> = (0..12)
        .map(|n| format!("ok {n} {}", "x".repeat(100_000)))
        .collect();
    pipeline.submit_all("in", "key", &texts).await;
    pipeline.start().await;
    let dead_letters = pipeline.wait_for_dead_letters("misbehave", 2).await;
    assert_eq!(
        dead_letters[0].text_header("dead-letter-reason"),
        Some("state-quota-exceeded")
    );
    pipeline.wait_for("out", 10).await;
    pipeline
        .submit("in", "key", &text(&pipeline.records("out")[0]))
        .await;
    pipeline.wait_for("out", 11).await;
    pipeline.wait_until_passed().await;
    assert_eq!(pipeline.dead_letters("misbehave").len(), 2);
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_utf_8_from_a_plug_in_fails_the_event_that_caused_it() {
    let cases = ["logged", "counted", "opened", "header", "code", "detail"];
    let cases = cases.map(|case| format!("text-{case}"));
    let mut pipeline = misbehaving().await;
    for value in &cases {
        submit(&pipeline, &[value, "ok"]).await;
    }
    pipeline.start().await;
    let dead_letters = pipeline
        .wait_for_dead_letters("misbehave", cases.len())
        .await;
    pipeline.wait_until_passed().await;
    for (record, value) in dead_letters.iter().zip(&cases) {
        assert_eq!(&text(record), value);
        assert_eq!(record.text_header("dead-letter-reason"), Some("trap"));
        let found = record.text_header("dead-letter-detail").unwrap();
        assert!(found.contains("utf-8"), "{value}: {found}");
    }
    assert_eq!(
        texts(&pipeline.records("out")),
        cases.each_ref().map(|_| "ok")
    );
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_text_is_dead_lettered_unchanged_and_its_neighbours_pass() {
    const BYTES: &[u8] = b"{\"roll\":\"\xff\xfe\"}";
    let mut pipeline = Pipeline::new(&["enrich"]).await;
    pipeline.form("students", 1).await;
    let output = [("enriched", "enriched")];
    pipeline
        .step("enrich", ("submissions", "students"), &output, labels())
        .await;
    pipeline.submit("students", "1", &student(1)).await;
    let headers = Headers::with_capacity(2)
        .with("ce_id", BYTES)
        .with("ce_subject", BYTES);
    pipeline.write("students", BYTES, BYTES, headers).await;
    pipeline.submit("students", "2", &student(2)).await;
    pipeline.start().await;
    pipeline.wait_for("enriched", 2).await;
    pipeline.wait_until_passed().await;
    assert_eq!(pipeline.records("enriched").len(), 2);
    let dead_letters = pipeline.dead_letters("enrich");
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(dead_letters[0].value(), Some(BYTES));
    assert_eq!(dead_letters[0].key(), Some(BYTES));
    assert_eq!(
        dead_letters[0].text_header("dead-letter-reason"),
        Some("malformed-json")
    );
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_exceeds_a_limit_is_dead_lettered_without_a_retry() {
    let cases = [
        ("outputs", "output-quota-exceeded"),
        ("output", "record-too-large"),
        ("store", "state-quota-exceeded"),
        ("header", "reserved-header"),
        ("reject", "not-good"),
    ];
    // These events do a lot of work before they exceed the limit, and the machine may be busy.
    let mut pipeline = misbehaving_within(Duration::from_secs(10)).await;
    for (value, _) in cases {
        submit(&pipeline, &[value, &format!("ok after {value}")]).await;
    }
    pipeline.start().await;
    let dead_letters = pipeline
        .wait_for_dead_letters("misbehave", cases.len())
        .await;
    for (record, (value, reason)) in dead_letters.iter().zip(cases) {
        assert_eq!(text(record), value);
        assert_eq!(record.text_header("dead-letter-reason"), Some(reason));
        assert_eq!(record.text_header("dead-letter-attempts"), Some("1"));
    }
    pipeline.wait_until_passed().await;
    assert_eq!(
        pipeline.records("out").len(),
        cases.len(),
        "rejected events have sent nothing"
    );
    assert_eq!(
        pipeline.changelog("misbehave").len(),
        cases.len(),
        "and have stored nothing"
    );
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_that_keeps_calling_next_after_the_last_event_is_stopped() {
    let mut pipeline = misbehaving().await;
    submit(&pipeline, &["ask-on", "ok 1", "ok 2"]).await;
    pipeline.start().await;
    let dead_letters = pipeline.wait_for_dead_letters("misbehave", 1).await;
    pipeline.wait_until_passed().await;
    assert_eq!(texts(&dead_letters), ["ask-on"]);
    assert_eq!(
        dead_letters[0].text_header("dead-letter-reason"),
        Some("deadline")
    );
    assert_eq!(texts(&pipeline.records("out")), ["ok 1", "ok 2"]);
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_kafka_rejects_is_isolated_and_dead_lettered() {
    let cases = ["big", "future"];
    let mut pipeline = Pipeline::new(&["misbehave"]).await;
    pipeline.form("in", 2).await;
    pipeline
        .topic_with("out", 2, &[("max.message.bytes", "20000")])
        .await;
    pipeline
        .step("misbehave", ("in", "in"), &[("out", "out")], json!({}))
        .await;
    for value in cases {
        for key in ["one", "two", "three"] {
            pipeline
                .submit("in", key, &format!("ok before {value}"))
                .await;
        }
        submit(&pipeline, &[value]).await;
    }
    pipeline.start().await;
    let dead_letters = pipeline
        .wait_for_dead_letters("misbehave", cases.len())
        .await;
    pipeline.wait_until_passed().await;
    assert_eq!(texts(&dead_letters), texts_of(&cases));
    for record in &dead_letters {
        let reason = record.text_header("dead-letter-reason");
        assert_eq!(reason, Some("refused-by-kafka"));
    }
    let passed = texts(&pipeline.records("out"));
    assert_eq!(passed.len(), 3 * cases.len(), "{passed:?}");
    assert!(passed.iter().all(|value| value.starts_with("ok")));
    assert_eq!(pipeline.changelog("misbehave").len(), passed.len());
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_kafka_rejects_is_retried_until_its_topic_accepts_it() {
    let mut pipeline = Pipeline::new(&["misbehave"]).await;
    pipeline.form("in", 1).await;
    let topic = formline_core::kafka::topic::dead_letter(&pipeline.app, "misbehave");
    pipeline
        .make_topic(topic, 1, &[("max.message.bytes", "200")])
        .await;
    pipeline
        .step("misbehave", ("in", "in"), &[("out", "out")], json!({}))
        .await;
    submit(&pipeline, &["ok 1", "reject", "ok 2"]).await;
    pipeline.spawn();
    assert_eq!(texts(&pipeline.wait_for("out", 1).await), ["ok 1"]);
    let rejected = "raise its max.message.bytes";
    eventually(SOON, async || pipeline.health().await.contains(rejected)).await;
    assert_eq!(
        texts(&pipeline.records("out")),
        ["ok 1"],
        "no later event overtakes it"
    );
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_fails_once_is_retried() {
    let values = ["panic-once", "ok 1", "slow-once", "ok 2", "later", "ok 3"];
    let mut pipeline = misbehaving().await;
    submit(&pipeline, &values).await;
    pipeline.start().await;
    let passed = pipeline.wait_for("out", values.len()).await;
    assert_eq!(
        passed.iter().map(text).collect::<Vec<_>>(),
        values,
        "the order is kept"
    );
    pipeline.wait_until_passed().await;
    assert_eq!(pipeline.dead_letters("misbehave").len(), 0);
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn excess_log_lines_are_dropped_and_a_skipped_event_has_no_effect() {
    let mut pipeline = misbehaving_within(Duration::from_secs(10)).await;
    pipeline.start().await;
    submit(&pipeline, &["log", "print", "skip"]).await;
    pipeline.wait_until_passed().await;
    assert_eq!(texts(&pipeline.records("out")), ["log", "print"]);
    assert_eq!(pipeline.changelog("misbehave").len(), 2);
    assert_eq!(
        pipeline
            .metric(&["formline_step_events_total", "skipped"])
            .await,
        1.0
    );
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_cannot_see_the_machine() {
    let mut pipeline = misbehaving().await;
    submit(&pipeline, &["look"]).await;
    pipeline.start().await;
    let look = |records: &[formline_core::Record]| -> Value {
        serde_json::from_str(&text(&records[1])).unwrap()
    };
    let seen = look(&pipeline.wait_for("out", 2).await);
    assert_eq!(seen["environment"], "0");
    assert_eq!(seen["arguments"], "0");
    assert_eq!(seen["file"], "false");
    assert_eq!(seen["folder"], "false");
    assert_eq!(seen["clock-is-frozen"], "true");
    pipeline.stop().await;
    pipeline.start().await;
    submit(&pipeline, &["look"]).await;
    let again = pipeline.wait_for("out", 4).await;
    assert_eq!(
        look(&again[2..])["random"],
        seen["random"],
        "a replay sees the same random numbers"
    );
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_that_fails_too_often_pauses_its_step_which_resumes_later() {
    const POISON: usize = 12;
    let mut pipeline = misbehaving().await;
    pipeline.start().await;
    submit(&pipeline, &["panic"; POISON]).await;
    submit(&pipeline, &["ok"]).await;
    eventually(SOON, async || !pipeline.is_working().await).await;
    assert!(
        pipeline.is_ready(),
        "submissions wait in Kafka in the meantime"
    );
    assert!(pipeline.dead_letters("misbehave").len() < POISON);
    assert!(pipeline.records("out").is_empty());
    eventually(SOON, async || pipeline.is_working().await).await;
    pipeline.wait_until_passed().await;
    assert_eq!(pipeline.dead_letters("misbehave").len(), POISON);
    assert_eq!(texts(&pipeline.records("out")), ["ok"]);
    assert_eq!(pipeline.metric(&["formline_step_pauses_total"]).await, 1.0);
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_that_does_not_fit_does_not_start() {
    let cases = [
        (
            "in",
            json!({ "broken": true }),
            "it does not start: init: broken",
        ),
        ("in", json!({ "borken": true }), "borken"),
        ("input", json!({}), "its input ports are"),
    ];
    for (port, config, problem) in cases {
        let mut pipeline = Pipeline::new(&["misbehave"]).await;
        pipeline.form("in", 1).await;
        pipeline
            .step("misbehave", (port, "in"), &[("out", "out")], config)
            .await;
        pipeline.spawn();
        let error = pipeline.failure().await.to_string();
        assert!(error.contains(problem), "{error}");
    }
    let mut pipeline = Pipeline::new(&["misbehave"]).await;
    pipeline.drop_file("misbehave", student(1).as_bytes());
    pipeline.form("in", 1).await;
    pipeline
        .step("misbehave", ("in", "in"), &[("out", "out")], json!({}))
        .await;
    pipeline.spawn();
    let error = pipeline.failure().await.to_string();
    assert!(error.contains("no plug-in in"), "{error}");
}
