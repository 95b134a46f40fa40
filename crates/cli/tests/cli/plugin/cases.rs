//! `formline plugin test`: test cases that pass, differ, are updated or cannot run.

use std::{fs, path::PathBuf};

use super::author_folder::{AuthorFolder, sdk};
use crate::support::{assert_contains, output_text};

#[test]
fn the_first_party_plug_ins_pass_their_cases() {
    let author = AuthorFolder::new();
    for name in ["rows", "enrich"] {
        let file = author.install(name);
        let cases = format!("{}/../{name}/cases", sdk());
        let tested = author.json(&["test", file.to_str().unwrap(), &cases]);
        assert_eq!(tested[0]["passed"], true, "{tested}");
    }
}

/// Writes the case `one` into the author's folder.
fn case(author: &AuthorFolder, events: &[&str], expected: &[&str]) -> PathBuf {
    let folder = author.path().join("cases/one");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("events.jsonl"), events.join("\n")).unwrap();
    fs::write(folder.join("expected.jsonl"), expected.join("\n")).unwrap();
    folder
}

/// A misbehaving plug-in has the same results as in a step.
#[test]
fn a_case_has_the_limits_rollbacks_and_retries_of_a_step() {
    let author = AuthorFolder::new();
    let manifest = format!("{}/../../processors/tests/guests/misbehave", sdk());
    author.text(&["build", &manifest, "--install"]);
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
    case(&author, &events.each_ref().map(String::as_str), &expected);
    let tested = author.formline(&["test", "plugins/misbehave.wasm", "cases"]);
    assert!(tested.status.success(), "{}", output_text(&tested));
}

#[test]
fn a_difference_is_shown_and_updated() {
    let author = AuthorFolder::new();
    author.install("enrich");
    let folder = case(
        &author,
        &[r#"{"value": {"a": 1}}"#, r#"{"value_text": "["}"#],
        &[r#"{"event":1,"sent":"enriched","value":{"a":2}}"#],
    );
    fs::write(
        folder.join("config.json"),
        r#"{"add": {"b": {"value": 3}}}"#,
    )
    .unwrap();
    let test = ["test", "plugins/enrich.wasm", "cases"];
    assert_contains(
        &author.fail(1, &test),
        &[
            "one: differs\n  line 1\n    expected {\"event\":1,\"sent\":\"enriched\",\"value\":{\"a\":2}}\n",
            "    got      {\"event\":1,\"sent\":\"enriched\",\"value\":{\"a\":1,\"b\":3}}\n",
            "  line 2\n    expected nothing\n    got      {\"event\":2,\"dead_letter\":\"malformed-json\"}\n",
            "0 of 1 cases pass",
        ],
    );
    assert_eq!(
        author.text(&[&test[..], &["--update"]].concat()),
        "one: updated\n1 of 1 cases pass\n"
    );
    assert_eq!(author.text(&test), "one: ok\n1 of 1 cases pass\n");
    // A key that is not UTF-8.
    case(&author, &[r#"{"key_hex": "ff00", "value": {}}"#], &[]);
    author.text(&[&test[..], &["--update"]].concat());
    let got = fs::read_to_string(folder.join("expected.jsonl")).unwrap();
    assert_eq!(
        got,
        "{\"event\":1,\"sent\":\"enriched\",\"key_hex\":\"ff00\",\"value\":{\"b\":3}}\n"
    );
}

#[test]
fn a_case_that_cannot_run_is_explained() {
    let author = AuthorFolder::new();
    author.install("enrich");
    let test = ["test", "plugins/enrich.wasm", "cases"];
    assert_contains(&author.fail(1, &test), &["cannot read cases"]);
    fs::create_dir(author.path().join("cases")).unwrap();
    assert_contains(&author.fail(1, &test), &["cases contains no cases"]);
    let folder = case(&author, &["{}"], &[]);
    assert_contains(&author.fail(1, &test), &["one: failed: config "]);
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
        case(&author, &[event], &[]);
        assert_contains(&author.fail(1, &test), &[part]);
    }
}
