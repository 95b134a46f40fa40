//! Plug-in files that are changed while the pipeline runs, and what `formline plugin list` shows of
//! them.

use std::fs;

use formline_testing::{eventually, kafka};
use serde_json::{Value, json};

use super::system::System;
use crate::support::{DEADLINE, assert_contains, output_text};

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_about_a_file_is_listed() {
    let mut system = System::start_with_own_plugins(kafka().await.bootstrap()).await;
    let enrich = fs::read(system.plugin("enrich.wasm")).unwrap();
    let before = step(&list(&system), &system, "enrich");
    assert_eq!(before["decisions"], json!([]));
    let plugin = before["plugin"].as_str().unwrap();
    assert!(plugin.starts_with("enrich@0.1.0 sha256:"), "{plugin}");
    assert_eq!(before["probation_until"], Value::Null);

    system.write_plugin("enrich.wasm", b"not wasm");
    wait_for(&system, |list| {
        list["running"][0]["files"][0]["outcome"] == "bad-file"
    })
    .await;
    // A custom section changes the digest only: id 0, size, and a name of one byte.
    let changed = [&enrich[..], &[0, 2, 1, 7]].concat();
    system.write_plugin("enrich.wasm", &changed);
    wait_for(&system, |list| {
        step(list, &system, "enrich")["decisions"][0].is_object()
    })
    .await;
    fs::remove_file(system.plugin("rows.wasm")).unwrap();
    wait_for(&system, |list| {
        step(list, &system, "rows")["decisions"][0]["outcome"] == "gone"
    })
    .await;

    assert_swapped(&list(&system), &system, &before);
    assert_printed(&list_text(&system));
    assert!(system.terminate().await.success(), "{}", system.log());
    let down = format!(
        "no process responds at {}: Connection refused",
        system.admin()
    );
    let parts = [down.as_str(), "enrich.wasm: enrich@0.1.0"];
    assert_contains(&list_text(&system), &parts);
}

/// Asserts that the step `enrich` runs the changed plug-in, and that the bad file is listed with
/// its problem.
fn assert_swapped(list: &Value, system: &System, before: &Value) {
    let now = step(list, system, "enrich");
    let decisions = now["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 1, "{now}");
    assert_eq!(decisions[0]["outcome"], "swapped");
    assert_eq!(decisions[0]["from"], before["plugin"]);
    assert_eq!(decisions[0]["to"], now["plugin"]);
    assert_ne!(now["plugin"], before["plugin"]);
    assert!(now["since"].as_str() > before["since"].as_str(), "{now}");
    assert!(now["probation_until"].is_string(), "{now}");
    let bad = &list["running"][0]["files"][0];
    assert_eq!(bad["to"], "enrich.wasm");
    assert!(!bad["problem"].as_str().unwrap().is_empty());
}

fn assert_printed(text: &str) {
    let parts = [
        "enrich.wasm: enrich@0.1.0 sha256:",
        "/enrich runs enrich@0.1.0 sha256:",
        "on probation until",
        "  swapped       enrich@0.1.0 sha256:",
        "  bad-file      enrich.wasm: ",
        "  gone          rows@0.1.0 sha256:",
        "/rows: there is no plug-in `rows`",
    ];
    assert_contains(text, &parts);
}

fn list_text(system: &System) -> String {
    let listed = system.run(&["plugin", "list", "--url", &system.admin()]);
    assert!(listed.status.success(), "{}", output_text(&listed));
    String::from_utf8(listed.stdout).unwrap()
}

fn list(system: &System) -> Value {
    let listed = system.run(&["plugin", "list", "--url", &system.admin(), "--json"]);
    serde_json::from_slice(&listed.stdout).unwrap()
}

/// What the running process reports of one of its steps.
fn step(list: &Value, system: &System, name: &str) -> Value {
    let title = format!("{}/{name}", system.name);
    let steps = list["running"][0]["steps"].as_array().unwrap();
    let found = steps.iter().find(|step| step["step"] == title.as_str());
    found.unwrap().clone()
}

async fn wait_for(system: &System, condition: impl Fn(&Value) -> bool) {
    eventually(DEADLINE, async || {
        let list = list(system);
        if condition(&list) { Ok(()) } else { Err(list) }
    })
    .await;
}
