//! `formline topics apply` and `formline tap`, on a real Kafka.

use formline_core::{
    event,
    kafka::record::{Headers, OutgoingRecord},
};
use formline_testing::{kafka, unique};
use serde_json::Value;

use crate::support::{
    assert_contains, client, copy_demo, create_topic, output_text, producer, run,
};

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_once_and_tapped() {
    let bootstrap = kafka().await.bootstrap();
    let (name, folder) = (unique("demo"), tempfile::tempdir().unwrap());
    copy_demo(folder.path(), &name, |text| text);
    let app = folder.path().to_str().unwrap();
    let apply = ["topics", "apply", "--app", app, "--bootstrap", bootstrap];
    let applied = run(&apply);
    assert!(applied.status.success(), "{}", output_text(&applied));
    let created = format!("{name}: created");
    assert_contains(&output_text(&applied), &[&created]);
    let again = run(&[&apply[..], &["--json"]].concat());
    let list: Value = serde_json::from_slice(&again.stdout).unwrap();
    let mut topics = list.as_array().unwrap().iter();
    assert!(topics.all(|topic| topic["done"] == "unchanged"), "{list}");

    produce(bootstrap, &name).await;
    let tap = ["tap", &name, "--bootstrap", bootstrap];
    let tap = [&tap[..], &["--from-beginning", "--count", "1"]].concat();
    let tapped = run(&[&tap[..], &["--json", "--form", "wanted"]].concat());
    let record: Value = serde_json::from_slice(&tapped.stdout).unwrap();
    assert_eq!(record["value"]["n"], 2);
    assert_eq!(record["headers"]["ce_source"], "/forms/wanted");
    let text = output_text(&run(&[&tap[..], &["--headers"]].concat()));
    assert_contains(&text, &["key a-key", "ce_source: /forms/other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_filters_records_of_several_topics() {
    let bootstrap = kafka().await.bootstrap();
    let topics = [unique("tap"), unique("tap")];
    let client = client(bootstrap);
    for name in &topics {
        create_topic(&client, name).await;
        produce(bootstrap, name).await;
    }
    let tap = |filter: &[&str]| {
        let both = ["tap", &topics[0], &topics[1], "--bootstrap", bootstrap];
        let tapped = run(&[&both[..], filter].concat());
        assert!(tapped.status.success(), "{}", output_text(&tapped));
        String::from_utf8(tapped.stdout).unwrap()
    };
    let found = tap(&[
        "--since",
        "1h",
        "--json",
        "--count",
        "2",
        "--partition",
        "0",
        "--key",
        "a-key",
        "--header",
        "ce_source=/forms/wanted",
        "--header",
        "ce_source",
    ]);
    let mut found: Vec<Value> = found
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(found.len(), 2);
    found.sort_by_key(|record| record["topic"] != topics[0].as_str());
    for (record, topic) in found.iter().zip(&topics) {
        assert_eq!(record["topic"], topic.as_str());
        assert_eq!(record["value"]["n"], 2);
    }
    let pretty = tap(&["--from-beginning", "--count", "1", "--pretty"]);
    assert_contains(&pretty, &["  {\n    \"n\": 1\n  }\n"]);
    let deleted = ["--header", "ce_source=/forms/deleted"];
    let deletion = tap(&[&["--from-beginning", "--count", "1"], &deleted[..]].concat());
    assert!(deletion.ends_with("key a-key\n  -\n"), "{deletion}");
    let missing = run(&["tap", &unique("missing"), "--bootstrap", bootstrap]);
    assert_contains(&output_text(&missing), &["kafka has no topic"]);
}

/// Writes two records, of the forms `other` and `wanted`, and a deletion.
async fn produce(bootstrap: &str, topic: &str) {
    let producer = producer(&client(bootstrap));
    for (form, value) in [
        ("other", Some("{\"n\":1}")),
        ("wanted", Some("{\"n\":2}")),
        ("deleted", None),
    ] {
        let source = event::source(form);
        let record = OutgoingRecord {
            topic,
            partition: None,
            key: Some(b"a-key"),
            value: value.map(str::as_bytes),
            headers: Headers::with_capacity(1).with(event::header::SOURCE, source),
            timestamp_ms: None,
        };
        producer.send(record).await.unwrap();
    }
}
