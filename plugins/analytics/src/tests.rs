//! The plug-in as a step sees it: flags, counts, and stored entries.
#![allow(clippy::unwrap_used, clippy::panic)]

use formline_plugin_sdk::prelude::*;
use formline_plugin_sdk::testing::{Input, Outcome, Partition, Sent};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::analytics::Analytics;

fn partition() -> Partition<Analytics> {
    Partition::start(r#"{"slang":["dang"],"retention_seconds":600}"#).unwrap()
}

/// A submission without `ce_time` that reached Kafka at `time` of a fixed day.
fn arrived(time: &str, value: &str) -> Input {
    Input::new(value)
        .key("99999")
        .header("ce_source", "/forms/student-data")
        .header("ce_id", "id-1")
        .timestamp_ms(at_ms(time))
}

/// A submission that was accepted, and reached Kafka, at `time`.
fn at(time: &str) -> Input {
    arrived(time, r#"{"name":"Ann"}"#).header("ce_time", on_the_day(time))
}

fn on_the_day(time: &str) -> String {
    format!("2026-11-21T{time}Z")
}

fn at_ms(time: &str) -> i64 {
    let time = OffsetDateTime::parse(&on_the_day(time), &Rfc3339).unwrap();
    time.unix_timestamp() * 1000
}

/// The only record that an event sends to `port`.
fn on<'a>(port: &str, sent: &'a [Sent]) -> &'a Sent {
    let records: Vec<_> = sent.iter().filter(|record| record.port == port).collect();
    assert_eq!(records.len(), 1, "{port}");
    records[0]
}

/// The minute and the number of submissions that an event results in.
fn counted(partition: &mut Partition<Analytics>, input: Input) -> (String, u64) {
    let sent = partition.process(input).unwrap();
    let count = on("counts", &sent).json();
    let minute = count["minute"].as_str().unwrap();
    (
        minute[11..16].to_owned(),
        count["submissions"].as_u64().unwrap(),
    )
}

fn minutes_kept(partition: &Partition<Analytics>) -> Vec<String> {
    let keys = partition.store("counts").into_keys();
    let keys = keys.map(|key| String::from_utf8(key).unwrap());
    let windows = keys.filter_map(|key| key.strip_prefix("window/").map(str::to_owned));
    windows.map(|key| key[11..16].to_owned()).collect()
}

fn code(outcome: Outcome) -> String {
    match outcome {
        Err(Reject::DeadLetter { code, .. }) => code,
        other => panic!("{other:?} is not a dead letter"),
    }
}

fn start_error(config: &Value) -> String {
    match Partition::<Analytics>::start(&config.to_string()) {
        Err(error) => error.code,
        Ok(_) => panic!("{config} should be rejected"),
    }
}

#[test]
fn slang_is_flagged_under_the_submissions_own_key_and_id() {
    let mut partition = partition();
    let sent = partition
        .process(arrived("01:50:00", r#"{"name":"Dang","of":["x"]}"#))
        .unwrap();
    let flagged = on("flagged", &sent);
    assert_eq!(flagged.key_text(), "99999");
    let expected = r#"{"version":1,"form":"student-data","id":"id-1","matches":[{"field":"/name","word":"dang"}]}"#;
    assert_eq!(flagged.text(), expected);
    assert_eq!(partition.counter("submissions_flagged"), 1);
}

#[test]
fn a_chained_submission_is_flagged_under_the_id_of_its_origin() {
    let chained = arrived("01:50:00", r#"{"name":"dang"}"#).header("formline-origin", "id-0");
    let sent = partition().process(chained).unwrap();
    assert_eq!(on("flagged", &sent).json()["id"], "id-0");
}

#[test]
fn every_event_sends_the_new_count_of_its_minute() {
    let mut partition = partition();
    partition.assign("submissions", 3);
    partition.process(at("01:50:59")).unwrap();
    let slang = arrived("01:50:01", r#"{"name":"dang"}"#);
    let sent = partition.process(slang).unwrap();
    let count = on("counts", &sent);
    assert_eq!(count.key_text(), "student-data/2026-11-21T01:50:00Z/3");
    let expected = r#"{"version":1,"form":"student-data","minute":"2026-11-21T01:50:00Z","partition":3,"submissions":2,"flagged":1}"#;
    assert_eq!(count.text(), expected);
}

#[test]
fn forms_and_minutes_are_counted_separately_and_survive_a_crash() {
    let mut partition = partition();
    assert_eq!(
        counted(&mut partition, at("01:50:10")),
        ("01:50".to_owned(), 1)
    );
    assert_eq!(
        counted(&mut partition, at("01:51:10")),
        ("01:51".to_owned(), 1)
    );
    partition.restart();
    assert_eq!(
        counted(&mut partition, at("01:50:20")),
        ("01:50".to_owned(), 2)
    );
    let other = Input::new("{}").header("ce_source", "/forms/other");
    let other = other
        .header("ce_time", on_the_day("01:50:30"))
        .timestamp_ms(at_ms("01:51:00"));
    assert_eq!(counted(&mut partition, other), ("01:50".to_owned(), 1));
}

#[test]
fn the_minute_is_that_of_acceptance_in_any_time_zone() {
    let late = arrived("01:53:00", "{}").header("ce_time", "2026-11-21T07:20:59.999+05:30");
    assert_eq!(counted(&mut partition(), late).0, "01:50");
    for unreadable in ["yesterday", "", "2026-11-21", "99999999"] {
        let input = arrived("01:53:00", "{}").header("ce_time", unreadable);
        assert_eq!(counted(&mut partition(), input).0, "01:53", "{unreadable}");
    }
}

#[test]
fn a_submission_out_of_time_counts_in_the_newest_minute() {
    let mut partition = partition();
    partition.process(at("01:50:00")).unwrap();
    let long_ago = arrived("01:50:00", "{}").header("ce_time", on_the_day("01:39:59"));
    assert_eq!(counted(&mut partition, long_ago), ("01:50".to_owned(), 2));
    let just_in_time = arrived("01:50:00", "{}").header("ce_time", on_the_day("01:40:00"));
    assert_eq!(
        counted(&mut partition, just_in_time),
        ("01:40".to_owned(), 1)
    );
    let far_ahead = arrived("01:50:00", "{}").header("ce_time", "2099-01-01T00:00:00Z");
    assert_eq!(counted(&mut partition, far_ahead), ("01:50".to_owned(), 3));
    assert_eq!(partition.counter("submissions_out_of_time"), 2);
}

#[test]
fn old_minutes_are_deleted_as_stream_time_advances() {
    let mut partition = partition();
    for minute in 0..=59 {
        partition
            .process(at(&format!("02:{minute:02}:30")))
            .unwrap();
        assert!(
            minutes_kept(&partition).len() <= 11,
            "ten minutes and the current one"
        );
    }
    assert_eq!(minutes_kept(&partition)[0], "02:49");
    partition.process(at("05:00:00")).unwrap();
    assert_eq!(minutes_kept(&partition), ["05:00"]);
}

#[test]
fn more_old_minutes_than_a_page_are_deleted_at_once() {
    let mut partition = partition();
    for form in 0..600 {
        let input = Input::new("{}").header("ce_source", format!("/forms/{form}"));
        partition
            .process(input.timestamp_ms(at_ms("01:50:00")))
            .unwrap();
    }
    assert_eq!(minutes_kept(&partition).len(), 600);
    partition.process(at("02:01:00")).unwrap();
    assert_eq!(minutes_kept(&partition), ["02:01"]);
}

#[test]
fn stream_time_never_decreases_and_a_wrong_clock_does_not_advance_it() {
    let mut partition = partition();
    partition.set_batch_time_ms(at_ms("01:50:00"));
    let wrong_clock = arrived("23:00:00", "{}").timestamp_ms(i64::MAX);
    assert_eq!(
        counted(&mut partition, wrong_clock),
        ("01:50".to_owned(), 1)
    );
    let no_timestamp = arrived("01:50:00", "{}").timestamp_ms(-1);
    assert_eq!(
        counted(&mut partition, no_timestamp),
        ("01:50".to_owned(), 2)
    );
    assert_eq!(
        counted(&mut partition, at("01:49:00")),
        ("01:49".to_owned(), 1)
    );
}

#[test]
fn longer_windows_start_at_their_first_minute() {
    let config = r#"{"count_window_seconds":300}"#;
    let mut partition = Partition::<Analytics>::start(config).unwrap();
    assert_eq!(
        counted(&mut partition, at("01:54:59")),
        ("01:50".to_owned(), 1)
    );
    assert_eq!(
        counted(&mut partition, at("01:55:00")),
        ("01:55".to_owned(), 1)
    );
}

#[test]
fn a_submission_that_cannot_be_counted_is_rejected_without_effects() {
    let mut partition = partition();
    assert_eq!(code(partition.process(Input::new("{}"))), "no-source");
    assert_eq!(
        code(partition.process(arrived("01:50:00", "[]"))),
        "malformed-json"
    );
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(
        code(partition.process(arrived("01:50:00", &deep))),
        "too-deep"
    );
    let anonymous = Input::new(r#"{"a":"dang"}"#).header("ce_source", "/forms/a");
    assert_eq!(code(partition.process(anonymous)), "no-id");
    assert_eq!(
        partition.process(arrived("01:50:00", "")),
        Err(Reject::skip("deletion"))
    );
    assert!(partition.store("counts").is_empty());
}

#[test]
fn the_same_events_result_in_the_same_records() {
    let run = || {
        let events =
            (0..50).map(|n| arrived("01:50:00", &format!(r#"{{"b":"dang","a":"dang {n}"}}"#)));
        partition().process_batch(events)
    };
    assert_eq!(run(), run());
}

#[test]
fn an_invalid_configuration_is_rejected() {
    assert_eq!(start_error(&json!({"slang": ["f***"]})), "not-words");
    assert_eq!(
        start_error(&json!({"count_window_seconds": 0})),
        "bad-window"
    );
    assert_eq!(
        start_error(&json!({"count_window_seconds": 90})),
        "bad-window"
    );
    assert_eq!(
        start_error(&json!({"retention_seconds": 59})),
        "bad-retention"
    );
    assert_eq!(start_error(&json!({"slang": "dang"})), "bad-config");

    let validator = jsonschema::validator_for(&Partition::<Analytics>::config_schema()).unwrap();
    assert!(validator.is_valid(&json!({})));
    assert!(
        validator.is_valid(&json!({"slang": ["a"], "fields": ["b"], "count_window_seconds": 120}))
    );
    for bad in [
        json!({"slang": "dang"}),
        json!({"count_window_seconds": 90}),
        json!({"retention_seconds": -1}),
        json!({"slangs": []}),
    ] {
        assert!(!validator.is_valid(&bad), "{bad}");
    }
}
