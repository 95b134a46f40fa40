//! `formline plugin test`: what it makes of cases.

use std::{fs, path::PathBuf};

use crate::desk::{Desk, assert_has, said, sdk};

#[test]
fn our_own_plug_ins_pass_their_cases() {
    let desk = Desk::new();
    for name in ["rows", "enrich"] {
        let file = desk.drop_in(name);
        let cases = format!("{}/../{name}/cases", sdk());
        let tested = desk.json(&["test", file.to_str().unwrap(), &cases]);
        assert_eq!(tested[0]["passed"], true, "{tested}");
    }
}

/// Files of one case in the author's folder.
fn case(desk: &Desk, events: &[&str], expected: &[&str]) -> PathBuf {
    let folder = desk.path().join("cases/one");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("events.jsonl"), events.join("\n")).unwrap();
    fs::write(folder.join("expected.jsonl"), expected.join("\n")).unwrap();
    folder
}

/// What a plug-in does wrong has the same end as in a step.
#[test]
fn a_case_keeps_savepoints_limits_and_second_tries() {
    let desk = Desk::new();
    let manifest = format!("{}/../../processors/tests/guests/misbehave", sdk());
    desk.text(&["build", &manifest, "--install"]);
    let events = [
        "ok",
        "panic",
        "panic-once",
        "reject",
        "skip",
        "outputs",
        "loop",
        "later",
        "never",
    ];
    let events = events.map(|value| format!(r#"{{"value_text": "{value}"}}"#));
    let expected = [
        r#"{"event": 1, "sent": "out", "value_text": "ok"}"#,
        r#"{"event": 2, "dead_letter": "unreachable"}"#,
        r#"{"event": 3, "sent": "out", "value_text": "panic-once"}"#,
        r#"{"event": 4, "dead_letter": "not-good"}"#,
        r#"{"event": 5, "skipped": true}"#,
        r#"{"event": 6, "dead_letter": "output-quota-exceeded"}"#,
        r#"{"event": 7, "dead_letter": "deadline"}"#,
        r#"{"event": 8, "retry_later_ms": 300}"#,
        r#"{"store": "seen", "key": "ok", "value_text": "seen"}"#,
        r#"{"store": "seen", "key": "panic-once", "value_text": "seen"}"#,
    ];
    case(&desk, &events.each_ref().map(String::as_str), &expected);
    let tested = desk.formline(&["test", "plugins/misbehave.wasm", "cases"]);
    assert!(tested.status.success(), "{}", said(&tested));
}

#[test]
fn a_difference_is_shown_and_taken_over() {
    let desk = Desk::new();
    desk.drop_in("enrich");
    let folder = case(
        &desk,
        &[r#"{"value": {"a": 1}}"#, r#"{"value_text": "["}"#],
        &[r#"{"event":1,"sent":"enriched","value":{"a":2}}"#],
    );
    fs::write(
        folder.join("config.json"),
        r#"{"add": {"b": {"value": 3}}}"#,
    )
    .unwrap();
    let test = ["test", "plugins/enrich.wasm", "cases"];
    assert_has(
        &desk.refused(1, &test),
        &[
            "one: differs\n  line 1\n    expected {\"event\":1,\"sent\":\"enriched\",\"value\":{\"a\":2}}\n",
            "    got      {\"event\":1,\"sent\":\"enriched\",\"value\":{\"a\":1,\"b\":3}}\n",
            "  line 2\n    expected nothing\n    got      {\"event\":2,\"dead_letter\":\"malformed-json\"}\n",
            "0 of 1 cases pass",
        ],
    );
    assert_eq!(
        desk.text(&[&test[..], &["--update"]].concat()),
        "one: updated\n1 of 1 cases pass\n"
    );
    assert_eq!(desk.text(&test), "one: ok\n1 of 1 cases pass\n");
    // Keys and values that are no text.
    case(&desk, &[r#"{"key_hex": "ff00", "value": {}}"#], &[]);
    desk.text(&[&test[..], &["--update"]].concat());
    let got = fs::read_to_string(folder.join("expected.jsonl")).unwrap();
    assert_eq!(
        got,
        "{\"event\":1,\"sent\":\"enriched\",\"key_hex\":\"ff00\",\"value\":{\"b\":3}}\n"
    );
}

#[test]
fn a_case_that_cannot_run_says_why() {
    let desk = Desk::new();
    desk.drop_in("enrich");
    let test = ["test", "plugins/enrich.wasm", "cases"];
    assert_has(&desk.refused(1, &test), &["cannot read cases"]);
    fs::create_dir(desk.path().join("cases")).unwrap();
    assert_has(&desk.refused(1, &test), &["cases has no cases"]);
    let folder = case(&desk, &["{}"], &[]);
    assert_has(&desk.refused(1, &test), &["one: failed: config "]);
    fs::write(
        folder.join("config.json"),
        r#"{"add": {"b": {"value": 3}}}"#,
    )
    .unwrap();
    for (event, part) in [
        ("{", "events.jsonl:1 is not JSON"),
        ("1", "event 1: it is not a JSON object"),
        (
            r#"{"values": 1}"#,
            "event 1: unknown key `values`; the known keys are port, key",
        ),
        (
            r#"{"port": "x"}"#,
            "event 1: its port is not one of submissions",
        ),
        (r#"{"key": 1}"#, "event 1: its key is not a string"),
        (
            r#"{"value_hex": "f"}"#,
            "event 1: its value_hex is not hexadecimal",
        ),
        (
            r#"{"headers": {"a": 1}}"#,
            "event 1: its header a is not a string",
        ),
        (r#"{"timestamp": -1}"#, "event 1: its timestamp is not"),
    ] {
        case(&desk, &[event], &[]);
        assert_has(&desk.refused(1, &test), &[part]);
    }
}
