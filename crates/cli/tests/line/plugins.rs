//! Plug-in files that are dropped into the folder of a running line, and what it tells of them.

use std::fs;

use formline_testing::{eventually, kafka};
use serde_json::{Value, json};

use super::vocabulary::{Line, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_about_a_file_is_listed() {
    let mut line = Line::start_with_own_plugins(kafka().await.bootstrap()).await;
    let enrich = fs::read(line.plugin("enrich.wasm")).unwrap();
    let before = step(&listed(&line), &line, "enrich");
    assert_eq!(before["decisions"], json!([]));
    assert!(
        before["plugin"]
            .as_str()
            .unwrap()
            .starts_with("enrich@0.1.0 sha256:")
    );
    assert_eq!(before["probation_until"], Value::Null);

    line.drop_plugin("enrich.wasm", b"not wasm");
    wait_for(&line, |list| {
        list["running"][0]["files"][0]["outcome"] == "bad-file"
    })
    .await;
    // A section that nobody reads makes another plug-in of it: id 0, size, and a name of one byte.
    line.drop_plugin("enrich.wasm", &[&enrich[..], &[0, 2, 1, 7]].concat());
    wait_for(&line, |list| {
        step(list, &line, "enrich")["decisions"][0].is_object()
    })
    .await;
    fs::remove_file(line.plugin("rows.wasm")).unwrap();
    wait_for(&line, |list| {
        step(list, &line, "rows")["decisions"][0]["outcome"] == "gone"
    })
    .await;

    let list = listed(&line);
    let now = step(&list, &line, "enrich");
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

    assert_is_told(&text(&line));
    assert!(line.terminate().await.success(), "{}", line.log());
    let text = text(&line);
    let nobody = format!("no line answers at {}: Connection refused", line.admin());
    assert!(text.contains(&nobody), "{text}");
    assert!(
        text.contains("enrich.wasm: enrich@0.1.0"),
        "the files are listed: {text}"
    );
}

fn assert_is_told(text: &str) {
    for part in [
        "enrich.wasm: enrich@0.1.0 sha256:",
        "/enrich runs enrich@0.1.0 sha256:",
        "on probation until",
        "  swapped       enrich@0.1.0 sha256:",
        "  bad-file      enrich.wasm: ",
        "  gone          rows@0.1.0 sha256:",
        "/rows: there is no plug-in `rows`",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}

fn text(line: &Line) -> String {
    let listed = line.ask(&["plugin", "list", "--url", &line.admin()]);
    assert!(listed.status.success());
    String::from_utf8(listed.stdout).unwrap()
}

fn listed(line: &Line) -> Value {
    let listed = line.ask(&["plugin", "list", "--url", &line.admin(), "--json"]);
    serde_json::from_slice(&listed.stdout).unwrap()
}

/// What the running line says of one of its steps.
fn step(list: &Value, line: &Line, name: &str) -> Value {
    let title = format!("{}/{name}", line.name);
    let steps = list["running"][0]["steps"].as_array().unwrap();
    let found = steps.iter().find(|step| step["step"] == title.as_str());
    found.unwrap().clone()
}

async fn wait_for(line: &Line, is_there: impl Fn(&Value) -> bool) {
    eventually(PATIENCE, async || {
        let list = listed(line);
        if is_there(&list) { Ok(()) } else { Err(list) }
    })
    .await;
}
