//! Apps that are valid. `kinds` and `diagnostics` have those that are rejected.

mod diagnostics;
mod kinds;

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc, time::Duration};

use serde_json::json;

use super::*;
use crate::{config::Diagnostic, kafka::topic};

/// The plug-ins of these tests: `copy` has the ports `in` and `out`; `count` also has a store.
struct Known;

impl Plugins for Known {
    fn find(&self, reference: &str) -> Option<PluginFacts> {
        let stores = match reference {
            "copy" => vec![],
            "count" => vec!["counts".to_owned()],
            _ => return None,
        };
        let config_schema = json!({
            "type": "object",
            "properties": { "word": { "type": "string" } },
            "additionalProperties": false,
        });
        Some(PluginFacts {
            inputs: vec!["in".into()],
            outputs: vec!["out".into()],
            stores,
            config_schema,
        })
    }

    fn names(&self) -> Vec<String> {
        vec!["copy".into(), "count".into()]
    }
}

const GOOD: &str = r#"
[app]
name = "school"
[[topic]]
name = "students"
partitions = 3
[[form]]
name = "student"
path = "/student/"
topic = "students"
key = "roll"
schema = "student.json"
[[step]]
name = "copy"
plugin = "copy"
input = { in = ["students"] }
output = { out = "copies" }
[[step]]
name = "count"
plugin = "count"
input = { in = ["copies"] }
output = { out = "counts" }
config = { word = "${WORD:-hello}" }
[[sink]]
name = "sheet"
kind = "sheets"
input = ["counts"]
spreadsheet = "${SHEET}"
tab = "Counts"
"#;

fn load_text(text: &str) -> Result<Vec<Arc<App>>, Vec<Diagnostic>> {
    load_texts(&[text])
}

fn load_texts(texts: &[&str]) -> Result<Vec<Arc<App>>, Vec<Diagnostic>> {
    load_with(texts, &Known)
}

fn load_with(texts: &[&str], plugins: &dyn Plugins) -> Result<Vec<Arc<App>>, Vec<Diagnostic>> {
    let folder = tempfile::tempdir().expect("a folder is created");
    let folders: Vec<PathBuf> = (0..texts.len())
        .map(|n| folder.path().join(n.to_string()))
        .collect();
    for (folder, text) in folders.iter().zip(texts) {
        fs::create_dir(folder).expect("a folder is created");
        fs::write(folder.join("app.toml"), text).expect("a file is written");
        let schema = json!({ "type": "object", "properties": { "roll": { "type": "string" } } });
        fs::write(folder.join("student.json"), schema.to_string()).expect("a file is written");
    }
    load(&folders, plugins, &|name| {
        (name == "SHEET").then(|| "sheet-1".to_owned())
    })
}

#[test]
fn a_valid_app_is_read() {
    let apps = load_text(GOOD).expect("it is valid");
    let app = &apps[0];
    assert_eq!(app.forms[0].path, "/student");
    assert_eq!(app.forms[0].key, Some(Key::new("/roll")));
    assert_eq!(app.steps[1].config, json!({ "word": "hello" }));
    assert_eq!(app.steps[1].port_of("copies"), Some("in"));
    let is_meant = |kind: &SinkKind| matches!(kind, SinkKind::Sheets(sheets) if sheets.spreadsheet == "sheet-1");
    assert!(is_meant(&app.sinks[0].kind), "{:?}", app.sinks[0].kind);
    let partitions: BTreeMap<_, _> = app
        .topics
        .iter()
        .map(|topic| (topic.name.as_str(), topic.partitions))
        .collect();
    assert_eq!(partitions["students"], 3);
    assert_eq!(partitions["copies"], topic::DEFAULT_PARTITIONS);
    assert_eq!(partitions["school.count.state"], topic::DEFAULT_PARTITIONS);
    assert_eq!(partitions["school.sheet.dead-letter"], 1);
    assert!(!partitions.contains_key("school.copy.state"));
}

#[test]
fn postgres_may_read_what_forms_write_and_sinks_may_share_a_schema() {
    let sinks = "[[sink]]\nname = \"archive\"\nkind = \"postgres\"\ninput = [\"students\", \"copies\"]\n\
                 [[sink]]\nname = \"counted\"\nkind = \"postgres\"\ninput = [\"counts\"]\nbatch_rows = 7";
    let apps = load_text(&format!("{GOOD}\n{sinks}")).expect("it is valid");
    let kinds: Vec<_> = apps[0].sinks[1..].iter().map(|sink| &sink.kind).collect();
    let postgres = |batch_rows| {
        SinkKind::Postgres(Postgres {
            schema: "formline".to_owned(),
            batch_rows,
        })
    };
    assert_eq!(kinds, [&postgres(1_000), &postgres(7)]);
}

#[test]
fn an_email_sink_has_a_journal_and_may_not_read_what_forms_write() {
    let sink = |input: &str| {
        format!(
            "{GOOD}\n[[sink]]\nname = \"thanks\"\nkind = \"email\"\ninput = [\"{input}\"]\nto = \"email\"\n\
             from = \"a@example.org\"\nsubject = \"Thanks\"\ntemplate = \"thanks\""
        )
    };
    let apps = load_text(&sink("counts")).expect("it is valid");
    let journal = apps[0]
        .topic("school.thanks.journal")
        .expect("it is declared");
    assert_eq!(journal.partitions, 20, "as many as the topic of retries");
    assert_eq!(journal.config["cleanup.policy"], "delete");
    assert!(apps[0].topic("school.sheet.journal").is_none());
    load_text(&sink("students")).expect_err("the topic may contain a submission twice");
}

/// The example with a webhook sink.
fn webhook(more: &str) -> String {
    format!(
        "{GOOD}\n[[sink]]\nname = \"crm\"\nkind = \"webhook\"\ninput = [\"counts\"]\n\
         url = \"https://example.org/hook\"\nsecret = \"whsec_x\"\n{more}"
    )
}

#[test]
fn a_webhook_sink_has_a_partition_for_each_possible_delay() {
    let apps = load_text(&webhook("")).expect("it is valid");
    let partitions = |name: &str| apps[0].topic(name).expect("it is declared").partitions;
    assert_eq!(partitions("school.crm.retries"), 20);
    assert_eq!(partitions("school.crm.journal"), 20);
    let own = ["counts".to_owned(), "school.crm.retries".to_owned()];
    assert_eq!(apps[0].sinks[1].topics(), own);
    let apps = load_text(&webhook("schedule = [\"5s\", \"1h 30m\"]")).expect("it is valid");
    let SinkKind::Webhook(crm) = &apps[0].sinks[1].kind else {
        panic!("{:?}", apps[0].sinks[1].kind);
    };
    assert_eq!(crm.schedule, [5, 5400].map(Duration::from_secs));
    assert!(!format!("{crm:?}").contains("whsec_x"));
    for (wrong, problem) in [
        ("schedule = []", "`schedule` is empty"),
        ("schedule = [\"5s\", \"soon\"]", "`soon` is not a delay"),
        ("schedule = [\"5m\", \"5s\"]", "not in ascending order"),
        ("schedule = [\"169h\"]", "`169h` is not a delay"),
        ("schedule = [\"-5s\"]", "`-5s` is not a delay"),
        (
            &format!("schedule = [{}]", "\"5s\",".repeat(21)),
            "`schedule` has 21 items",
        ),
        ("in_flight = 0", "0 is out of range"),
    ] {
        let found = load_text(&webhook(wrong)).expect_err("an error");
        assert!(found[0].problem.contains(problem), "{found:?}");
    }
    let text = webhook("").replace("https:", "ftp:");
    let found = load_text(&text).expect_err("an error");
    assert!(found[0].problem.contains("not an address"), "{found:?}");
}

#[test]
fn empty_delays_are_skipped() {
    for (written, expected) in [
        ("[\"\", \"5s\", \"\", \"5m\"]", &[5, 300][..]),
        ("[\"\"]", &[]),
        ("\"\"", &[]),
    ] {
        let text = webhook(&format!("schedule = {written}"));
        let apps = load_text(&text).expect("it is valid");
        let sink = &apps[0].sinks[1];
        let expected: Vec<_> = expected.iter().copied().map(Duration::from_secs).collect();
        assert_eq!(sink.kind.schedule(), expected, "{written}");
        // Without a delay there is nothing to wait for.
        let retries = apps[0].topic("school.crm.retries");
        assert_eq!(retries.is_some(), !expected.is_empty(), "{written}");
        assert_eq!(sink.topics().len(), 1 + usize::from(!expected.is_empty()));
    }
}

#[test]
fn a_schema_of_postgres_needs_no_quotes() {
    for legal in ["formline", "_x1", &"a".repeat(63)] {
        assert!(is_postgres_schema(legal), "{legal}");
    }
    for illegal in [
        "",
        "1a",
        "A",
        "a-b",
        "a b",
        "pg_own",
        "a;drop",
        "ä",
        &"a".repeat(64),
    ] {
        assert!(!is_postgres_schema(illegal), "{illegal}");
        let sink =
            "[[sink]]\nname = \"archive\"\nkind = \"postgres\"\ninput = [\"copies\"]\nschema = ";
        let found = load_text(&format!("{GOOD}\n{sink}{illegal:?}")).expect_err("an error");
        assert!(found[0].problem.contains("the sink's schema"), "{found:?}");
    }
}

#[test]
fn upstream_groups_are_in_order() {
    let apps = load_text(GOOD).expect("it is valid");
    let stages = apps[0].upstream(&["counts".to_owned()]);
    let groups: Vec<_> = stages.iter().map(|stage| stage.group.as_str()).collect();
    assert_eq!(groups, ["formline.school.copy", "formline.school.count"]);
    assert_eq!(stages[0].topics, ["students"]);
}

#[test]
fn keys_are_texts_numbers_and_booleans() {
    let submission = json!({ "roll": "1", "deep": { "a/b": 2 }, "flag": true, "list": [], "none": null, "empty": "" });
    let key = |text: &str| Key::new(text).of(&submission);
    assert_eq!(key("roll").as_deref(), Some("1"));
    assert_eq!(key("/deep/a~1b").as_deref(), Some("2"));
    assert_eq!(key("flag").as_deref(), Some("true"));
    for without in ["list", "none", "empty", "missing", "deep"] {
        assert_eq!(key(without), None, "{without}");
    }
}
