use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::json;

use super::*;
use crate::mistake::Mistake;

/// The plug-ins of these tests: `copy` takes `in` and gives `out`; `count` also keeps a store.
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

fn load_text(text: &str) -> Result<Vec<Arc<App>>, Vec<Mistake>> {
    load_texts(&[text])
}

fn load_texts(texts: &[&str]) -> Result<Vec<Arc<App>>, Vec<Mistake>> {
    let folder = tempfile::tempdir().expect("a folder");
    let folders: Vec<PathBuf> = (0..texts.len())
        .map(|n| folder.path().join(n.to_string()))
        .collect();
    for (folder, text) in folders.iter().zip(texts) {
        fs::create_dir(folder).expect("a folder");
        fs::write(folder.join("app.toml"), text).expect("a file");
        let schema = json!({ "type": "object", "properties": { "roll": { "type": "string" } } });
        fs::write(folder.join("student.json"), schema.to_string()).expect("a file");
    }
    load(&folders, &Known, &|name| {
        (name == "SHEET").then(|| "sheet-1".to_owned())
    })
}

/// The messages of a text that must be wrong, one a line, without the folder.
fn mistakes(text: &str) -> String {
    let mistakes = load_text(text).expect_err("it has mistakes");
    let short = |mistake: &Mistake| {
        let line = mistake.to_string();
        let at = line.find("app.toml").expect("the file is named");
        line[at..].to_owned()
    };
    mistakes.iter().map(short).collect::<Vec<_>>().join("\n")
}

fn assert_mistake(text: &str, part: &str) {
    let found = mistakes(text);
    assert!(found.contains(part), "`{part}` is not in\n{found}");
}

#[test]
fn a_good_app_is_understood() {
    let apps = load_text(GOOD).expect("no mistakes");
    let app = &apps[0];
    assert_eq!(app.forms[0].path, "/student");
    assert_eq!(app.forms[0].key, Some(Key::new("/roll")));
    assert_eq!(app.steps[1].config, json!({ "word": "hello" }));
    assert_eq!(app.steps[1].port_of("copies"), Some("in"));
    let SinkKind::Sheets(sheets) = &app.sinks[0].kind;
    assert_eq!(sheets.spreadsheet, "sheet-1");
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
fn a_sink_knows_the_groups_before_it_in_order() {
    let apps = load_text(GOOD).expect("no mistakes");
    let stages = apps[0].upstream(&["counts".to_owned()]);
    let groups: Vec<_> = stages.iter().map(|stage| stage.group.as_str()).collect();
    assert_eq!(groups, ["formline.school.copy", "formline.school.count"]);
    assert_eq!(stages[0].topics, ["students"]);
}

#[test]
fn all_mistakes_come_at_once_with_their_lines() {
    let text = GOOD
        .replace("partitions = 3", "partition = 3")
        .replace("plugin = \"count\"", "plugin = \"cuont\"")
        .replace("${SHEET}", "${NONE}");
    let found = mistakes(&text);
    for part in [
        "app.toml:6: unknown key `partition`; did you mean `partitions`?",
        "app.toml:20: there is no plug-in `cuont`; did you mean `count`?",
        "app.toml:28: the variable NONE is not set; set it, or write ${NONE:-default}",
    ] {
        assert!(found.contains(part), "`{part}` is not in\n{found}");
    }
}

#[test]
fn each_kind_of_mistake_is_named() {
    let cases = [
        (
            "name = \"school\"",
            "name = \"My School\"",
            "`My School` is not a name",
        ),
        (
            "[app]\nname = \"school\"",
            "",
            "the section [app] is missing",
        ),
        ("[app]", "[app", "write valid toml"),
        (
            "partitions = 3",
            "partitions = \"3\"",
            "write a whole number",
        ),
        (
            "partitions = 3",
            "partitions = 0",
            "0 is out of range; write 1 to 10000",
        ),
        (
            "name = \"students\"",
            "name = \"stud/ents\"",
            "kafka does not take this name",
        ),
        (
            "path = \"/student/\"",
            "path = \"student\"",
            "does not begin with `/`",
        ),
        (
            "path = \"/student/\"",
            "path = \"/v1/student\"",
            "belongs to formline itself",
        ),
        (
            "path = \"/student/\"",
            "path = \"/stud ent\"",
            "an address cannot have",
        ),
        ("path = \"/student/\"", "", "`path` is missing"),
        (
            "student.json",
            "missing.json",
            "name a file in the app's folder",
        ),
        ("student.json", "../student.json", "lies outside the app"),
        ("student.json", "app.toml", "write valid json"),
        (
            "key = \"roll\"",
            "key = \"rol\"",
            "the schema has no field `rol`",
        ),
        (
            "key = \"roll\"",
            "redirect = \"example.org\"",
            "is not a web address",
        ),
        (
            "key = \"roll\"",
            "honeypot = \"roll\"",
            "is a field that people fill in",
        ),
        (
            "tab = \"Counts\"",
            "tab = \"Counts\"\n[[topic]]\nname = \"orphan\"\n[[sink]]\nname = \"other\"\nkind = \"sheets\"\ninput = [\"orphan\"]\nspreadsheet = \"x\"\ntab = \"Other\"",
            "nothing of the app writes topic `orphan`",
        ),
        ("key = \"roll\"", "sanitize = 1", "write a table"),
        (
            "key = \"roll\"",
            "sanitize = { trim = 1 }",
            "write true or false",
        ),
        (
            "key = \"roll\"",
            "rate_limit = { client = 1 }",
            "unknown key `client`",
        ),
        (
            "input = { in = [\"students\"] }",
            "",
            "input port `in` is not bound",
        ),
        (
            "input = { in = [\"students\"] }",
            "input = { inn = \"students\" }",
            "has no input port `inn`",
        ),
        (
            "input = { in = [\"students\"] }",
            "input = [\"students\"]",
            "write a table",
        ),
        (
            "input = { in = [\"students\"] }",
            "input = { in = [\"student\"] }",
            "did you mean `students`?",
        ),
        (
            "output = { out = \"copies\" }",
            "output = { out = 1 }",
            "write a text in quotes",
        ),
        ("word = ", "wrod = ", "config #"),
        (
            "word = \"${WORD:-hello}\"",
            "word = \"${WORD\"",
            "`${` has no `}`",
        ),
        (
            "kind = \"sheets\"",
            "kind = \"sheet\"",
            "did you mean `sheets`?",
        ),
        (
            "kind = \"sheets\"",
            "kind = \"carrier-pigeon\"",
            "name one of sheets",
        ),
        (
            "input = [\"counts\"]",
            "input = []",
            "the sink reads nothing",
        ),
        (
            "input = [\"counts\"]",
            "input = [\"nothing\"]",
            "declare it with [[topic]]",
        ),
        ("name = \"count\"", "name = \"copy\"", "is declared twice"),
        (
            "[[form]]",
            "[[topic]]\nname = \"lonely\"\n[[form]]",
            "topic `lonely` joins nothing",
        ),
        (
            "out = \"counts\"",
            "out = \"copies\"",
            "cycle without an exit",
        ),
    ];
    for (good, bad, part) in cases {
        assert!(GOOD.contains(good), "`{good}` is not in the example");
        assert_mistake(&GOOD.replace(good, bad), part);
    }
}

#[test]
fn a_step_with_state_needs_co_partitioned_inputs() {
    let text = GOOD
        .replace(
            "[[form]]",
            "[[topic]]\nname = \"copies\"\npartitions = 4\n[[form]]",
        )
        .replace("in = [\"copies\"]", "in = [\"copies\", \"students\"]");
    assert_mistake(&text, "keeps state, but its inputs have {3, 4} partitions");
}

#[test]
fn two_apps_cannot_share_a_path() {
    let other = GOOD
        .replace("\"school\"", "\"other\"")
        .replace("\"student\"", "\"pupil\"");
    let found = load_texts(&[GOOD, &other]).expect_err("one path twice");
    assert!(
        found[0]
            .problem
            .contains("belongs to form `student` already"),
        "{found:?}"
    );
    assert!(load(&[PathBuf::from("/nowhere")], &Known, &|_| None).is_err());
}

#[test]
fn keys_are_texts_numbers_and_flags() {
    let submission = json!({ "roll": "1", "deep": { "a/b": 2 }, "flag": true, "list": [], "none": null, "empty": "" });
    let key = |text: &str| Key::new(text).of(&submission);
    assert_eq!(key("roll").as_deref(), Some("1"));
    assert_eq!(key("/deep/a~1b").as_deref(), Some("2"));
    assert_eq!(key("flag").as_deref(), Some("true"));
    for without in ["list", "none", "empty", "missing", "deep"] {
        assert_eq!(key(without), None, "{without}");
    }
}
