//! `formline check`, and how commands that start something report the same errors.

use std::{fs, path::Path};

use formline_testing::unique;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{assert_contains, copy_demo, formline, output_text, run};

/// apps/demo under the name `wrong`, changed by `change`.
fn demo(change: impl Fn(String) -> String) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_demo(folder.path(), "wrong", change);
    folder
}

/// The number of the line of app.toml that contains a text.
fn line_of(folder: &Path, part: &str) -> usize {
    let text = fs::read_to_string(folder.join("app.toml")).unwrap();
    1 + text.lines().position(|line| line.contains(part)).unwrap()
}

#[test]
fn the_example_apps_have_no_errors() {
    let checked = run(&["check"]);
    let text = output_text(&checked);
    assert!(checked.status.success(), "{text}");
    let expected = "student-data: 1 forms, 3 steps, 1 sinks, no errors";
    assert_contains(&text, &[expected]);
    let json = run(&["check", "--json"]);
    assert_eq!(String::from_utf8_lossy(&json.stdout), "[]\n");
}

#[test]
fn an_invalid_app_is_rejected_with_all_its_errors() {
    let folder = demo(|text| {
        text.replace("plugin = \"rows\"", "plugin = \"rwos\"")
            .replace("tab =", "tba =")
    });
    let app = folder.path().to_str().unwrap();
    for command in ["check", "up", "ingest", "process", "sink"] {
        let rejected = run(&[command, "--app", app]);
        let text = output_text(&rejected);
        assert_eq!(rejected.status.code(), Some(64), "{command}: {text}");
        let parts = [
            "did you mean `rows`?",
            "did you mean `tab`?",
            "errors; nothing was started",
        ];
        assert_contains(&text, &parts);
    }
    let rejected = run(&["check", "--json", "--app", app]);
    let diagnostics: Value = serde_json::from_slice(&rejected.stdout).unwrap();
    let line = line_of(folder.path(), "rwos");
    let mut all = diagnostics.as_array().unwrap().iter();
    assert!(all.any(|one| one["line"] == line), "{diagnostics}");
}

#[test]
fn settings_plug_ins_and_apps_are_checked_together() {
    let folder = demo(|text| {
        text.replace("tab =", "tba =")
            .replace("${DEMO_SHEET_ID:-demo}", "a b/c")
    });
    let app = folder.path().to_str().unwrap();
    let arguments = [
        "check",
        "--plugins",
        "nowhere",
        "--settings",
        "missing.toml",
    ];
    let rejected = run(&[&arguments[..], &["--app", app]].concat());
    assert_eq!(rejected.status.code(), Some(64));
    let line = line_of(folder.path(), "a b/c");
    let spreadsheet = format!("app.toml:{line}: `a b/c` is not the id of a spreadsheet");
    let parts = [
        "missing.toml: the file cannot be read",
        "nowhere: the plug-in folder cannot be read",
        "did you mean `tab`?",
        &spreadsheet,
        "4 errors; nothing was started",
    ];
    assert_contains(&output_text(&rejected), &parts);
}

#[test]
fn missing_apps_are_reported_with_the_other_errors() {
    let empty = tempfile::tempdir().unwrap();
    let check = || {
        let mut command = formline();
        command.args(["check", "--plugins", "nowhere"]);
        let output = command.current_dir(empty.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        output_text(&output)
    };
    let parts = ["./apps: the folder cannot be read", "2 errors"];
    assert_contains(&check(), &parts);
    fs::create_dir(empty.path().join("apps")).unwrap();
    assert_contains(&check(), &["none of its folders has an app.toml"]);
}

#[test]
fn a_command_that_cannot_start_reports_why() {
    let nothing = tempfile::tempdir().unwrap();
    let nothing = nothing.path().join(unique("missing"));
    for (arguments, code, part) in [
        (
            vec!["process", "--step", "nope"],
            1,
            "no app has a step `nope`; there are demo/rows",
        ),
        (
            vec!["sink", "--sink", "nope"],
            1,
            "no app has a sink `nope`",
        ),
        (vec!["sink"], 1, "no Google credentials"),
        (
            vec!["check", "--settings", "missing.toml"],
            64,
            "missing.toml: the file cannot be read",
        ),
        (
            vec!["check", "--app", nothing.to_str().unwrap()],
            64,
            "name a folder that has an app.toml",
        ),
    ] {
        let rejected = run(&arguments);
        let text = output_text(&rejected);
        assert_eq!(rejected.status.code(), Some(code), "{arguments:?}: {text}");
        assert_contains(&text, &[part]);
    }
}

#[test]
fn an_address_in_use_is_reported_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let rejected = run(&["sheets-emulator", "--sheets", &address, "--data", data]);
    assert_eq!(rejected.status.code(), Some(1));
    let expected = format!("cannot listen on {address}; choose another address with --sheets");
    assert_contains(&output_text(&rejected), &[&expected]);
}
