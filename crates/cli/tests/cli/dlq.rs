//! `formline dlq`, on a real Kafka.

use std::{
    process::Output,
    time::{Duration, Instant},
};

use formline_core::{event::header, kafka::topic};
use formline_testing::unique;
use serde_json::Value;

use crate::support::{DemoApp, assert_contains, output_text};

const DETAIL: &str = "a sentence\nand\u{1b}[2J a backtrace";

/// The app with its topics, but without dead letters.
async fn empty_app() -> DemoApp {
    let demo = DemoApp::new().await;
    let list = dlq(&demo, &["list"]);
    assert_eq!(output_text(&list), "no dead letters\n", "without topics");
    let names = [demo.name.clone(), topic::dead_letter(&demo.name, "rows")];
    demo.create_topics(&names).await;
    demo
}

/// The app with three dead letters of its step `rows`.
async fn app_with_three_letters() -> DemoApp {
    let demo = empty_app().await;
    for (form, value, reason) in [
        ("one", "{\"n\":1}", "trap"),
        ("two", "{\"n\":2}", "trap"),
        ("two", "no json", "malformed"),
    ] {
        demo.submit(&unique("id"), form, value).await;
        demo.dead_letter_latest(reason, DETAIL).await;
    }
    demo
}

fn dlq(demo: &DemoApp, arguments: &[&str]) -> Output {
    demo.formline(&[&["dlq"], arguments].concat())
}

/// The values that were replayed to the topic of the form.
fn replayed(demo: &DemoApp) -> Vec<String> {
    let records = demo.records(&demo.name);
    let replays = records
        .iter()
        .filter(|record| record.header(header::REPLAY_FOR).is_some());
    replays
        .map(|record| String::from_utf8(record.value().unwrap().to_vec()).unwrap())
        .collect()
}

/// The JSON lines that a successful command has printed.
fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", output_text(output));
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_counted_and_listed() {
    let demo = app_with_three_letters().await;
    let counted = output_text(&dlq(&demo, &["list"]));
    let title = format!("{}/rows: 3 dead letters", demo.name);
    assert_contains(&counted, &[&title, "2  trap", "1  malformed"]);
    let summary = lines(&dlq(&demo, &["list", "--json"])).remove(0);
    assert_eq!(summary["count"], 3);
    assert_eq!(summary["reasons"]["trap"], 2);

    for (filter, expected) in [
        (&["--reason", "trap"][..], &[0, 1][..]),
        (&["--form", "two"], &[1, 2]),
        (&["--form", "two", "--reason", "trap"], &[1]),
        (&["--step", "rows", "--since", "1h"], &[0, 1, 2]),
        (&["--until", "1h"], &[]),
        (&["--since", "2999-01-01T00:00:00Z"], &[]),
    ] {
        let listed = lines(&dlq(&demo, &[&["list", "--json"], filter].concat()));
        let names: Vec<_> = listed
            .iter()
            .map(|letter| letter["letter"].as_str().unwrap())
            .collect();
        let expected: Vec<_> = expected.iter().map(|offset| demo.letter(*offset)).collect();
        assert_eq!(names, expected, "{filter:?}");
    }
    let line = output_text(&dlq(&demo, &["list", "--reason", "malformed"]));
    assert!(line.starts_with(&demo.letter(2)), "{line}");
    assert_contains(&line, &["2 attempts  a sentence\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_shown_with_its_record() {
    let demo = app_with_three_letters().await;
    let shown = output_text(&dlq(&demo, &["show", &demo.letter(1)]));
    let parts = [
        "state     open",
        "reason    trap",
        "key       a-key",
        "ce_source: /forms/two",
        "  \"n\": 2\n",
    ];
    assert_contains(&shown, &parts);
    assert!(!shown.contains('\u{1b}'), "a control sequence: {shown}");
    let shown = lines(&dlq(&demo, &["show", &demo.letter(2), "--json"])).remove(0);
    assert_eq!(shown["value"], "no json");
    assert_eq!(shown["topic"], demo.name.as_str());
    assert_eq!(shown["headers"]["ce_source"], "/forms/two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_resolved_once_and_a_dry_run_changes_nothing() {
    let demo = app_with_three_letters().await;
    let (second, third) = (demo.letter(1), demo.letter(2));
    let tried = output_text(&dlq(&demo, &["replay", &second, "--dry-run"]));
    assert_contains(&tried, &["1 of 1 dead letters would be replayed"]);
    assert!(replayed(&demo).is_empty());

    let done = dlq(&demo, &["replay", &second, &second]);
    assert_eq!(output_text(&done), "1 of 1 dead letters were replayed\n");
    assert_eq!(replayed(&demo), ["{\"n\":2}"]);
    for arguments in [
        &["replay", &*second][..],
        &["discard", &second],
        &["replay", &second, "--dry-run"],
    ] {
        let rejected = dlq(&demo, arguments);
        assert_eq!(rejected.status.code(), Some(1), "{arguments:?}");
        assert_contains(&output_text(&rejected), &["was replayed at"]);
    }
    let shown = output_text(&dlq(&demo, &["show", &second]));
    assert_contains(&shown, &["state     was replayed at"]);

    let discarded = lines(&dlq(&demo, &["discard", &third, "--json"])).remove(0);
    assert_eq!(discarded["letter"], third.as_str());
    assert_eq!(discarded["done"], "discarded");
    let open = lines(&dlq(&demo, &["list", "--step", "rows", "--json"]));
    assert_eq!(open.len(), 1);
    assert_eq!(replayed(&demo).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_select_dead_letters_and_the_rate_is_limited() {
    let demo = app_with_three_letters().await;
    let start = Instant::now();
    let done = dlq(&demo, &["replay", "--reason", "trap", "--rate", "1"]);
    assert_eq!(output_text(&done), "2 of 2 dead letters were replayed\n");
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_secs(1), "{elapsed:?}");
    assert_eq!(replayed(&demo), ["{\"n\":1}", "{\"n\":2}"]);
    let done = dlq(&demo, &["discard", "--since", "1h", "--yes"]);
    assert_eq!(output_text(&done), "1 of 1 dead letters were discarded\n");
    assert_eq!(output_text(&dlq(&demo, &["list"])), "no dead letters\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_and_missing_dead_letters_are_explained() {
    let demo = empty_app().await;
    let missing = demo.letter(7);
    for (arguments, code, part) in [
        (&["replay"][..], 64, "--reason"),
        (&["replay", "rows"], 64, "APP/STEP@OFFSET"),
        (
            &["replay", &missing, "--reason", "trap"],
            64,
            "cannot be used with",
        ),
        (&["replay", "--reason", "trap", "--rate", "0"], 64, "--rate"),
        (
            &["list", "--since", "soon"],
            64,
            "or a duration such as 90s",
        ),
        (&["list", "--step", "nope"], 1, "no app has a step `nope`"),
        (&["show", &missing], 1, "there is no dead letter"),
        (&["replay", &missing], 1, "there is no dead letter"),
        (
            &["show", "unknown/rows@1"],
            1,
            "no app has a step or sink `unknown/rows`",
        ),
    ] {
        let rejected = dlq(&demo, arguments);
        let text = output_text(&rejected);
        assert_eq!(rejected.status.code(), Some(code), "{arguments:?}: {text}");
        assert_contains(&text, &[part]);
    }
}
