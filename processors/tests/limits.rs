//! A plug-in that breaks rules harms nobody but the event that made it do so.
#![allow(clippy::unwrap_used, clippy::panic)]

mod line;

use std::time::Duration;

use formline_core::record::Headers;
use formline_testing::eventually;
use serde_json::{Value, json};

use self::line::{Line, SOON, labels, student, text, texts, texts_of};

/// One step that does what its events say, on one partition, so that all of them share a batch.
async fn misbehaving() -> Line {
    misbehaving_within(Duration::from_millis(300)).await
}

/// The same with so much time for each event.
async fn misbehaving_within(time: Duration) -> Line {
    let mut line = Line::new(&["misbehave"]).await;
    line.form("in", 1).await;
    let mut step = line.describe("misbehave", ("in", "in"), &[("out", "out")], json!({}));
    step.limits.event = time;
    line.add(step).await;
    line
}

async fn submit(line: &Line, values: &[&str]) {
    for value in values {
        line.submit("in", "key", value).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_traps_is_parked_with_its_reason_and_its_neighbours_pass() {
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
    let mut line = misbehaving().await;
    submit(&line, &["ok first"]).await;
    for (value, ..) in cases {
        submit(&line, &[value, &format!("ok after {value}")]).await;
    }
    line.start().await;
    let parked = line.wait_for_dead_letters("misbehave", cases.len()).await;
    line.wait_until_passed().await;
    for (record, (value, reason, detail)) in parked.iter().zip(cases) {
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
    let passed = texts(&line.records("out"));
    assert_eq!(passed.len(), cases.len() + 1, "{passed:?}");
    assert!(
        passed.iter().all(|value| value.starts_with("ok")),
        "{passed:?}"
    );
    assert_eq!(line.changelog("misbehave").len(), passed.len());
    let traps = ["formline_plugin_traps_total", "deadline"];
    assert_eq!(line.metric(&traps).await, 4.0);
    let worked = ["formline_plugin_counter_total", "worked"];
    assert_eq!(line.metric(&worked).await, (cases.len() + 1) as f64);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_are_full_refuse_what_is_new_and_take_what_is_known() {
    let mut line = Line::new(&["misbehave"]).await;
    line.form("in", 1).await;
    let output = [("out", "out")];
    let mut step = line.describe("misbehave", ("in", "in"), &output, json!({}));
    step.limits.state = 1 << 20;
    line.add(step).await;
    // The text of an event is the key of its entry.
    let texts: Vec<String> = (0..12)
        .map(|n| format!("ok {n} {}", "x".repeat(100_000)))
        .collect();
    line.submit_all("in", "key", &texts).await;
    line.start().await;
    let parked = line.wait_for_dead_letters("misbehave", 2).await;
    assert_eq!(
        parked[0].text_header("dead-letter-reason"),
        Some("state-quota-exceeded")
    );
    line.wait_for("out", 10).await;
    line.submit("in", "key", &text(&line.records("out")[0]))
        .await;
    line.wait_for("out", 11).await;
    line.wait_until_passed().await;
    assert_eq!(line.dead_letters("misbehave").len(), 2);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_a_plug_in_takes_for_text_fail_the_event_that_led_to_them() {
    let cases = ["logged", "counted", "opened", "header", "code", "detail"];
    let cases = cases.map(|case| format!("text-{case}"));
    let mut line = misbehaving().await;
    for value in &cases {
        submit(&line, &[value, "ok"]).await;
    }
    line.start().await;
    let parked = line.wait_for_dead_letters("misbehave", cases.len()).await;
    line.wait_until_passed().await;
    for (record, value) in parked.iter().zip(&cases) {
        assert_eq!(&text(record), value);
        assert_eq!(record.text_header("dead-letter-reason"), Some("trap"));
        let found = record.text_header("dead-letter-detail").unwrap();
        assert!(found.contains("utf-8"), "{value}: {found}");
    }
    assert_eq!(texts(&line.records("out")), cases.each_ref().map(|_| "ok"));
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_text_is_parked_byte_by_byte_and_its_neighbours_pass() {
    const BYTES: &[u8] = b"{\"roll\":\"\xff\xfe\"}";
    let mut line = Line::new(&["enrich"]).await;
    line.form("students", 1).await;
    let output = [("enriched", "enriched")];
    line.step("enrich", ("submissions", "students"), &output, labels())
        .await;
    line.submit("students", "1", &student(1)).await;
    let headers = Headers::with_capacity(2)
        .with("ce_id", BYTES)
        .with("ce_subject", BYTES);
    line.write("students", BYTES, BYTES, headers).await;
    line.submit("students", "2", &student(2)).await;
    line.start().await;
    line.wait_for("enriched", 2).await;
    line.wait_until_passed().await;
    assert_eq!(line.records("enriched").len(), 2);
    let parked = line.dead_letters("enrich");
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].value(), Some(BYTES));
    assert_eq!(parked[0].key(), Some(BYTES));
    assert_eq!(
        parked[0].text_header("dead-letter-reason"),
        Some("malformed-json")
    );
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_wants_too_much_is_refused_and_parked_at_once() {
    let cases = [
        ("outputs", "output-quota-exceeded"),
        ("output", "record-too-large"),
        ("store", "state-quota-exceeded"),
        ("header", "reserved-header"),
        ("reject", "not-good"),
    ];
    // They do much before they are refused, and the machine may be busy.
    let mut line = misbehaving_within(Duration::from_secs(10)).await;
    for (value, _) in cases {
        submit(&line, &[value, &format!("ok after {value}")]).await;
    }
    line.start().await;
    let parked = line.wait_for_dead_letters("misbehave", cases.len()).await;
    for (record, (value, reason)) in parked.iter().zip(cases) {
        assert_eq!(text(record), value);
        assert_eq!(record.text_header("dead-letter-reason"), Some(reason));
        assert_eq!(record.text_header("dead-letter-attempts"), Some("1"));
    }
    line.wait_until_passed().await;
    assert_eq!(
        line.records("out").len(),
        cases.len(),
        "what was refused has sent nothing"
    );
    assert_eq!(
        line.changelog("misbehave").len(),
        cases.len(),
        "and has stored nothing"
    );
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_that_asks_on_behind_the_last_event_is_stopped() {
    let mut line = misbehaving().await;
    submit(&line, &["ask-on", "ok 1", "ok 2"]).await;
    line.start().await;
    let parked = line.wait_for_dead_letters("misbehave", 1).await;
    line.wait_until_passed().await;
    assert_eq!(texts(&parked), ["ask-on"]);
    assert_eq!(
        parked[0].text_header("dead-letter-reason"),
        Some("deadline")
    );
    assert_eq!(texts(&line.records("out")), ["ok 1", "ok 2"]);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_refuses_is_found_among_its_neighbours_and_parked() {
    let cases = ["big", "future"];
    let mut line = Line::new(&["misbehave"]).await;
    line.form("in", 2).await;
    line.topic_with("out", 2, &[("max.message.bytes", "20000")])
        .await;
    line.step("misbehave", ("in", "in"), &[("out", "out")], json!({}))
        .await;
    for value in cases {
        for key in ["one", "two", "three"] {
            line.submit("in", key, &format!("ok before {value}")).await;
        }
        submit(&line, &[value]).await;
    }
    line.start().await;
    let parked = line.wait_for_dead_letters("misbehave", cases.len()).await;
    line.wait_until_passed().await;
    assert_eq!(texts(&parked), texts_of(&cases));
    for record in &parked {
        let reason = record.text_header("dead-letter-reason");
        assert_eq!(reason, Some("refused-by-kafka"));
    }
    let passed = texts(&line.records("out"));
    assert_eq!(passed.len(), 3 * cases.len(), "{passed:?}");
    assert!(passed.iter().all(|value| value.starts_with("ok")));
    assert_eq!(line.changelog("misbehave").len(), passed.len());
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_kafka_refuses_waits_until_its_topic_takes_it() {
    let mut line = Line::new(&["misbehave"]).await;
    line.form("in", 1).await;
    let dead_letters = formline_core::topic::dead_letter(&line.app, "misbehave");
    line.make_topic(dead_letters, 1, &[("max.message.bytes", "200")])
        .await;
    line.step("misbehave", ("in", "in"), &[("out", "out")], json!({}))
        .await;
    submit(&line, &["ok 1", "reject", "ok 2"]).await;
    line.spawn();
    assert_eq!(texts(&line.wait_for("out", 1).await), ["ok 1"]);
    let refused = "raise its max.message.bytes";
    eventually(SOON, async || line.health().await.contains(refused)).await;
    assert_eq!(
        texts(&line.records("out")),
        ["ok 1"],
        "nothing overtakes it"
    );
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_once_is_tried_again() {
    let values = ["panic-once", "ok 1", "slow-once", "ok 2", "later", "ok 3"];
    let mut line = misbehaving().await;
    submit(&line, &values).await;
    line.start().await;
    let passed = line.wait_for("out", values.len()).await;
    assert_eq!(
        passed.iter().map(text).collect::<Vec<_>>(),
        values,
        "in their order"
    );
    line.wait_until_passed().await;
    assert_eq!(line.dead_letters("misbehave").len(), 0);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_is_dropped_and_a_skipped_event_leaves_nothing() {
    let mut line = misbehaving_within(Duration::from_secs(10)).await;
    line.start().await;
    submit(&line, &["log", "print", "skip"]).await;
    line.wait_until_passed().await;
    assert_eq!(texts(&line.records("out")), ["log", "print"]);
    assert_eq!(line.changelog("misbehave").len(), 2);
    assert_eq!(
        line.metric(&["formline_step_events_total", "skipped"])
            .await,
        1.0
    );
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_sees_nothing_of_the_machine() {
    let mut line = misbehaving().await;
    submit(&line, &["look"]).await;
    line.start().await;
    let look = |records: &[formline_core::Record]| -> Value {
        serde_json::from_str(&text(&records[1])).unwrap()
    };
    let seen = look(&line.wait_for("out", 2).await);
    assert_eq!(seen["environment"], "0");
    assert_eq!(seen["arguments"], "0");
    assert_eq!(seen["file"], "false");
    assert_eq!(seen["folder"], "false");
    assert_eq!(seen["clock-is-frozen"], "true");
    line.stop().await;
    line.start().await;
    submit(&line, &["look"]).await;
    let again = line.wait_for("out", 4).await;
    assert_eq!(
        look(&again[2..])["random"],
        seen["random"],
        "a replay sees the same randomness"
    );
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_that_fails_too_often_pauses_its_step_and_goes_on_later() {
    const POISON: usize = 12;
    let mut line = misbehaving().await;
    line.start().await;
    submit(&line, &["panic"; POISON]).await;
    submit(&line, &["ok"]).await;
    eventually(SOON, async || !line.is_working().await).await;
    assert!(line.is_ready(), "submissions wait in kafka meanwhile");
    assert!(line.dead_letters("misbehave").len() < POISON);
    assert!(line.records("out").is_empty());
    eventually(SOON, async || line.is_working().await).await;
    line.wait_until_passed().await;
    assert_eq!(line.dead_letters("misbehave").len(), POISON);
    assert_eq!(texts(&line.records("out")), ["ok"]);
    assert_eq!(line.metric(&["formline_step_pauses_total"]).await, 1.0);
    line.stop().await;
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
        let mut line = Line::new(&["misbehave"]).await;
        line.form("in", 1).await;
        line.step("misbehave", (port, "in"), &[("out", "out")], config)
            .await;
        line.spawn();
        let error = line.failure().await.to_string();
        assert!(error.contains(problem), "{error}");
    }
    let mut line = Line::new(&["misbehave"]).await;
    line.drop_file("misbehave", student(1).as_bytes());
    line.form("in", 1).await;
    line.step("misbehave", ("in", "in"), &[("out", "out")], json!({}))
        .await;
    line.spawn();
    let error = line.failure().await.to_string();
    assert!(error.contains("no plug-in in"), "{error}");
}
