//! `formline trace` of submissions that change state and are dead-lettered, on a real Kafka.

use formline_core::{
    event::{header, provenance::Provenance},
    kafka::{record::Headers, topic},
};
use formline_testing::unique;
use serde_json::Value;

use crate::support::{DemoApp, assert_contains, output_text};

/// The app with its topics. Its step `rows` keeps state here.
async fn stateful_app() -> DemoApp {
    let demo = DemoApp::new().await;
    let names = [
        demo.name.clone(),
        format!("{}.rows", demo.name),
        topic::state(&demo.name, "rows"),
        topic::dead_letter(&demo.name, "rows"),
    ];
    demo.create_topics(&names).await;
    demo
}

/// Writes a state change of the store `seen`, caused by the submissions at these offsets.
async fn change_state(demo: &DemoApp, key: &str, value: Option<&str>, offsets: &[i64]) {
    let cause = Provenance::new(&demo.name, offsets.iter().copied());
    let headers = Headers::with_capacity(1).with(header::PROVENANCE, cause.to_string());
    let key = [b"\x04seen", key.as_bytes()].concat();
    let changelog = topic::state(&demo.name, "rows");
    demo.send(&changelog, &key, value, headers).await;
}

/// The records that a trace finds.
fn trace(demo: &DemoApp, id: &str) -> Vec<Value> {
    let traced = demo.formline(&["trace", id, "--since", "1h", "--json"]);
    let trace: Value = serde_json::from_slice(&traced.stdout).unwrap();
    trace["records"].as_array().unwrap().clone()
}

fn stages(records: &[Value]) -> Vec<&str> {
    let stages = records.iter().map(|record| record["stage"].as_str());
    stages.map(Option::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn state_changes_are_found_by_the_events_that_caused_them() {
    let (demo, ids) = (stateful_app().await, [(); 3].map(|()| unique("id")));
    for id in &ids {
        demo.submit(id, "demo", "{}").await;
    }
    let derived = Headers::with_capacity(2)
        .with(header::ID, unique("id"))
        .with(header::ORIGIN, &ids[1]);
    let output = format!("{}.rows", demo.name);
    demo.send(&output, b"key", Some("{}"), derived).await;
    change_state(&demo, "of-all", Some("3"), &[0, 1, 2]).await;
    change_state(&demo, "of-two", None, &[0, 2]).await;
    change_state(&demo, "of-one", Some("1"), &[1]).await;
    // Records without a cause, as of an older version, or with an invalid one are ignored.
    let changelog = topic::state(&demo.name, "rows");
    let invalid = Headers::with_capacity(1).with(header::PROVENANCE, "1");
    for headers in [Headers::with_capacity(0), invalid] {
        let value = Some(ids[1].as_str());
        demo.send(&changelog, b"\x04seenx", value, headers).await;
    }

    let second = trace(&demo, &ids[1]);
    assert_eq!(stages(&second), ["form", "state", "state", "output"]);
    assert_eq!(second[1]["about"], "store seen: of-all set");
    assert_eq!(second[2]["about"], "store seen: of-one set");
    assert_eq!(second[1]["topic"], changelog.as_str());
    let third = trace(&demo, &ids[2]);
    assert_eq!(stages(&third), ["form", "state", "state"]);
    assert_eq!(third[2]["about"], "store seen: of-two deleted");
    let text = output_text(&demo.formline(&["trace", &ids[0], "--since", "1h"]));
    let line = text.lines().find(|line| line.contains("of-two")).unwrap();
    assert!(line.starts_with("20"), "{line}");
    assert_contains(line, &["  state  "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_traced_with_its_resolution() {
    let (demo, id) = (stateful_app().await, unique("id"));
    demo.submit(&id, "demo", "{}").await;
    demo.dead_letter_latest("trap", "it failed").await;
    let open = trace(&demo, &id);
    assert_eq!(stages(&open), ["form", "dead letter"]);
    assert_eq!(open[1]["about"], "trap");
    assert_eq!(open[1]["settled"], Value::Null);

    let replayed = demo.formline(&["dlq", "replay", &demo.letter(0)]);
    assert!(replayed.status.success(), "{}", output_text(&replayed));
    demo.dead_letter_latest("trap", "it failed").await;
    let second = &trace(&demo, &id)[3]["offset"];
    let letter = format!("{}/rows@{second}", demo.name);
    let discarded = demo.formline(&["dlq", "discard", &letter]);
    assert!(discarded.status.success(), "{}", output_text(&discarded));
    let closed = trace(&demo, &id);
    let expected = ["form", "dead letter", "form", "dead letter"];
    assert_eq!(stages(&closed), expected, "{closed:?}");
    assert_eq!(closed[1]["settled"]["how"], "replayed");
    assert_eq!(closed[3]["settled"]["how"], "discarded");
    let times = [
        &closed[0]["time"],
        &closed[1]["settled"]["time"],
        &closed[3]["settled"]["time"],
    ];
    let is_sorted = times.is_sorted_by_key(|time| time.as_str().unwrap());
    assert!(is_sorted, "{times:?}");
    let text = output_text(&demo.formline(&["trace", &id, "--since", "1h"]));
    let parts = [
        "trap, was replayed at 20",
        "replayed for formline.",
        "trap, was discarded at 20",
    ];
    assert_contains(&text, &parts);
}
