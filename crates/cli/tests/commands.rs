//! The commands that end by themselves: what they print, and how they end.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use formline_testing::{kafka, plugins_dir, unique};
use serde_json::Value;
use tempfile::TempDir;

fn formline(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
    command
        .args(arguments)
        .current_dir(repository())
        .env("FORMLINE_PLUGINS", plugins_dir());
    command.output().unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn printed(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    both.join("")
}

/// apps/demo under a name of its own, changed by `change`.
fn demo(name: &str, change: impl Fn(String) -> String) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["app.toml", "demo.schema.json"] {
        let text = fs::read_to_string(repository().join("apps/demo").join(file)).unwrap();
        let text = text
            .replace("\"demo", &format!("\"{name}"))
            .replace("/demo", &format!("/{name}"));
        fs::write(folder.path().join(file.replace("demo", name)), change(text)).unwrap();
    }
    folder
}

#[test]
fn our_own_apps_have_no_mistakes() {
    let checked = formline(&["check"]);
    assert!(checked.status.success(), "{}", printed(&checked));
    let text = printed(&checked);
    assert!(
        text.contains("student-data: 1 forms, 3 steps, 1 sinks, no mistakes"),
        "{text}"
    );
    assert_eq!(
        String::from_utf8_lossy(&formline(&["check", "--json"]).stdout),
        "[]\n"
    );
}

#[test]
fn a_wrong_app_is_refused_with_every_mistake() {
    let folder = demo("wrong", |text| {
        text.replace("plugin = \"rows\"", "plugin = \"rwos\"")
            .replace("tab =", "tba =")
    });
    let app = folder.path().to_str().unwrap();
    for command in ["check", "up", "ingest", "process", "sink"] {
        let refused = formline(&[command, "--app", app]);
        assert_eq!(
            refused.status.code(),
            Some(64),
            "{command}: {}",
            printed(&refused)
        );
        let text = printed(&refused);
        for part in [
            "did you mean `rows`?",
            "did you mean `tab`?",
            "mistakes; nothing was started",
        ] {
            assert!(text.contains(part), "{command}: `{part}` is not in\n{text}");
        }
    }
    let refused = formline(&["check", "--json", "--app", app]);
    let mistakes: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert!(
        mistakes
            .as_array()
            .unwrap()
            .iter()
            .any(|mistake| mistake["line"] == 22),
        "{mistakes}"
    );
}

#[test]
fn settings_plug_ins_and_apps_are_checked_together() {
    let folder = demo("wrong", |text| {
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
    let refused = formline(&[&arguments[..], &["--app", app]].concat());
    assert_eq!(refused.status.code(), Some(64));
    let text = printed(&refused);
    for part in [
        "missing.toml: the file cannot be read",
        "nowhere: the plug-in folder cannot be read",
        "did you mean `tab`?",
        "app.toml:31: `a b/c` is not the id of a spreadsheet",
        "4 mistakes; nothing was started",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}

#[test]
fn a_place_without_apps_is_a_mistake_like_others() {
    let empty = tempfile::tempdir().unwrap();
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        let arguments = ["check", "--plugins", "nowhere"];
        let output = command
            .args(arguments)
            .current_dir(empty.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64));
        printed(&output)
    };
    let text = check();
    assert!(text.contains("./apps: the folder cannot be read"), "{text}");
    assert!(text.contains("2 mistakes"), "{text}");
    fs::create_dir(empty.path().join("apps")).unwrap();
    let text = check();
    assert!(
        text.contains("none of its folders has an app.toml"),
        "{text}"
    );
}

/// Commands, and flags that they have.
const FLAGS: &str = "\
up: --app --plugins --data --bootstrap --settings --admin --http --sheets
ingest: --app --plugins --data --bootstrap --settings --admin --http
process: --app --plugins --data --bootstrap --settings --admin --step
sink: --app --plugins --data --bootstrap --settings --admin --sink --sheets
sheets-emulator: --data --sheets --quota
check: --app --plugins --data --bootstrap --settings --json
topics apply: --app --plugins --data --bootstrap --settings --json
dlq list: --app --step --sink --reason --form --since --until --json --bootstrap --settings
trace: --app --since --json --bootstrap
dlq show: --app --json --bootstrap
dlq replay: --app --step --sink --reason --form --since
plugin list: --url --app --plugins --data --json
top: --url --interval --once --json
plugin inspect: --data --json
plugin test: --update --data --json
plugin new: --path --sdk
plugin build: --install --plugins --data --json
tap: --form --id --key --partition --header --since --pretty --from-beginning --count --headers --json --bootstrap --settings";

/// A flag has the same words in the help of every command that has it.
#[test]
fn a_flag_means_the_same_everywhere() {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for line in FLAGS.lines() {
        let (command, flags) = line.split_once(": ").unwrap();
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = printed(&formline(&words));
        for flag in flags.split(' ') {
            let head = |line: &&str| line.trim_start().split(' ').next() == Some(flag);
            let mut lines = help.lines().skip_while(|line| !head(line));
            let found = lines
                .next()
                .unwrap_or_else(|| panic!("{command} lacks {flag}:\n{help}"));
            let rest = lines.take_while(|line| !line.trim_start().starts_with('-'));
            let words = [found]
                .into_iter()
                .chain(rest)
                .collect::<Vec<_>>()
                .join("\n");
            let first = known
                .entry(flag.to_owned())
                .or_insert_with(|| words.clone());
            assert_eq!(words.trim(), first.trim(), "{command}");
        }
    }
}

#[test]
fn wrong_use_is_explained() {
    for (arguments, part) in [
        (&["upp"][..], "similar subcommand"),
        (&["up", "--htp", "1"], "--http"),
        (&["up", "--http", "nowhere"], "invalid socket address"),
        (&["tap"], "<TOPIC>"),
        (&["tap", "a", "--header", "=x"], "a header has a name"),
        (
            &["tap", "a", "--since", "1h", "--from-beginning"],
            "cannot be used",
        ),
    ] {
        let refused = formline(arguments);
        assert_eq!(refused.status.code(), Some(64), "{arguments:?}");
        assert!(
            printed(&refused).contains(part),
            "{arguments:?}: {}",
            printed(&refused)
        );
    }
    assert!(formline(&["--help"]).status.success());
    assert!(formline(&["--version"]).status.success());
}

#[test]
fn what_cannot_be_started_says_why() {
    let nothing = tempfile::tempdir().unwrap();
    let nothing = nothing.path().join("missing");
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
        let refused = formline(&arguments);
        assert_eq!(
            refused.status.code(),
            Some(code),
            "{arguments:?}: {}",
            printed(&refused)
        );
        assert!(
            printed(&refused).contains(part),
            "{arguments:?}: {}",
            printed(&refused)
        );
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let refused = formline(&[
        "sheets-emulator",
        "--sheets",
        &address,
        "--data",
        data.path().to_str().unwrap(),
    ]);
    assert_eq!(refused.status.code(), Some(1));
    let text = printed(&refused);
    assert!(
        text.contains(&format!(
            "cannot listen on {address}; choose another address with --sheets"
        )),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_applied_and_tapped() {
    let bootstrap = kafka().await.bootstrap();
    let name = unique("demo");
    let folder = demo(&name, |text| text);
    let app = folder.path().to_str().unwrap();
    let apply = ["topics", "apply", "--app", app, "--bootstrap", bootstrap];
    let applied = formline(&apply);
    assert!(applied.status.success(), "{}", printed(&applied));
    assert!(printed(&applied).contains(&format!("{name}: created")));
    let again = formline(&[&apply[..], &["--json"]].concat());
    let list: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert!(
        list.as_array()
            .unwrap()
            .iter()
            .all(|topic| topic["done"] == "unchanged"),
        "{list}"
    );

    produce(bootstrap, &name).await;
    let tap = [
        "tap",
        &name,
        "--bootstrap",
        bootstrap,
        "--from-beginning",
        "--count",
        "1",
    ];
    let tapped = formline(&[&tap[..], &["--json", "--form", "wanted"]].concat());
    let record: Value = serde_json::from_slice(&tapped.stdout).unwrap();
    assert_eq!(record["value"]["n"], 2);
    assert_eq!(record["headers"]["ce_source"], "/forms/wanted");
    let text = printed(&formline(&[&tap[..], &["--headers"]].concat()));
    assert!(
        text.contains("key a-key") && text.contains("ce_source: /forms/other"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_has_filters_and_follows_several_topics() {
    let bootstrap = kafka().await.bootstrap();
    let topics = [unique("tap"), unique("tap")];
    let client = formline_core::Client::new(bootstrap, BTreeMap::new());
    for name in &topics {
        let topic = formline_core::topic::Topic {
            name: name.clone(),
            partitions: 1,
            config: BTreeMap::new(),
        };
        formline_core::topic::apply(&client, &[topic])
            .await
            .unwrap();
        produce(bootstrap, name).await;
    }
    let tap = |filter: &[&str]| {
        let both = ["tap", &topics[0], &topics[1], "--bootstrap", bootstrap];
        let tapped = formline(&[&both[..], filter].concat());
        assert!(tapped.status.success(), "{}", printed(&tapped));
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
    found.sort_by_key(|record| record["topic"] != topics[0].as_str());
    for (record, topic) in found.iter().zip(&topics) {
        assert_eq!(
            (&record["topic"], &record["value"]["n"]),
            (&topic.as_str().into(), &2.into())
        );
    }
    let pretty = tap(&["--from-beginning", "--count", "1", "--pretty"]);
    assert!(pretty.contains("  {\n    \"n\": 1\n  }\n"), "{pretty}");
    let deleted = ["--header", "ce_source=/forms/deleted"];
    let deletion = tap(&[&["--from-beginning", "--count", "1"], &deleted[..]].concat());
    assert!(deletion.ends_with("key a-key\n  -\n"), "{deletion}");
    let gone = formline(&["tap", &unique("missing"), "--bootstrap", bootstrap]);
    assert!(
        printed(&gone).contains("kafka has no topic"),
        "{}",
        printed(&gone)
    );
}

/// Two records, from the forms `other` and `wanted`, and a deletion.
async fn produce(bootstrap: &str, topic: &str) {
    use formline_core::{Client, Producer, event, producer, record};
    let client = Client::new(bootstrap, std::collections::BTreeMap::new());
    let delivery_timeout = std::time::Duration::from_secs(30);
    let options = producer::Options {
        delivery_timeout,
        queue_messages: 10,
        queue_kib: 64,
    };
    let producer = Producer::open(&client, options).unwrap();
    for (form, value) in [
        ("other", Some("{\"n\":1}")),
        ("wanted", Some("{\"n\":2}")),
        ("deleted", None),
    ] {
        let headers =
            record::Headers::with_capacity(1).with(event::header::SOURCE, event::source(form));
        let record = record::Outgoing {
            topic,
            partition: None,
            key: Some(b"a-key"),
            value: value.map(str::as_bytes),
            headers,
            timestamp_ms: None,
        };
        producer.send(record).await.unwrap();
    }
}
