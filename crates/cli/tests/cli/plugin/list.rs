//! `formline plugin list` and `inspect`.

use std::fs;

use serde_json::{Value, json};

use super::author_folder::AuthorFolder;
use crate::support::assert_contains;

#[test]
fn the_list_contains_every_file_with_its_state_and_its_steps() {
    let author = AuthorFolder::new();
    for name in ["rows", "enrich"] {
        author.install(name);
    }
    fs::write(author.path().join("plugins/broken.wasm"), "not a component").unwrap();
    author.app("lost@2.0.0");
    let text = author.text(&["list"]);
    assert_contains(
        &text,
        &[
            "broken.wasm: cannot be used: ",
            "rows.wasm: rows@0.1.0 sha256:",
            "  Turns each submission into a row of typed cells, for a sheet.\n  used by school/first\n",
            "  used by no step\n",
            "school/second: there is no plug-in `lost@2.0.0`\n",
        ],
    );
    let list = author.json(&["list"]);
    let of = |file: &str| {
        let mut plugins = list["plugins"].as_array().unwrap().iter();
        let path = json!(author.path().join("plugins").join(file));
        plugins.find(|plugin| plugin["file"] == path).unwrap()
    };
    assert_eq!(of("rows.wasm")["steps"], json!(["school/first"]));
    assert_eq!(of("rows.wasm")["problem"], Value::Null);
    assert_eq!(of("rows.wasm")["digest"].as_str().unwrap().len(), 64);
    assert_eq!(of("enrich.wasm")["steps"], json!([]));
    assert!(of("broken.wasm")["problem"].is_string());
    let missing = json!([{ "step": "school/second", "plugin": "lost@2.0.0" }]);
    assert_eq!(list["missing"], missing);
}

#[test]
fn a_step_uses_the_file_that_it_names_by_version_or_digest() {
    let author = AuthorFolder::new();
    author.install("rows");
    let digest = author.json(&["list"])["plugins"][0]["digest"].clone();
    let digest = digest.as_str().unwrap();
    for (named, users) in [
        ("rows@0.1.0", vec!["school/first", "school/second"]),
        (
            &format!("sha256:{}", &digest[..12]),
            vec!["school/first", "school/second"],
        ),
        ("rows@9.9.9", vec!["school/first"]),
        ("sha256:000000000000", vec!["school/first"]),
    ] {
        author.app(named);
        assert_eq!(
            author.json(&["list"])["plugins"][0]["steps"],
            json!(users),
            "{named}"
        );
    }
}

#[test]
fn a_list_needs_no_app_but_a_plug_in_folder_and_valid_apps() {
    let author = AuthorFolder::new();
    assert_contains(
        &author.text(&["list"]),
        &["/plugins contains no .wasm file\n"],
    );
    let rejected = author.fail(64, &["list", "--plugins", "nowhere"]);
    assert_contains(&rejected, &["nowhere: the plug-in folder cannot be read"]);
    let rejected = author.fail(64, &["list", "--app", "nowhere"]);
    assert_contains(&rejected, &["name a folder that has an app.toml"]);
}

#[test]
fn a_file_is_inspected() {
    let author = AuthorFolder::new();
    let file = author.install("enrich");
    let file = file.to_str().unwrap();
    assert_contains(
        &author.text(&["inspect", file]),
        &[
            "enrich 0.1.0\nAdds fields to each submission",
            "contract  formline:plugin@0.2.0\n",
            "inputs    submissions\noutputs   enriched\nstores    none\n",
            "counters  fields_already_there, fields_without_source\n",
            "imports   formline:plugin/",
            "limits    memory_bytes 67108864\n",
            "\"minProperties\": 1",
        ],
    );
    let inspected = author.json(&["inspect", file]);
    assert_eq!(inspected["size"], fs::metadata(file).unwrap().len());
    assert_eq!(inspected["limits"]["event_ms"], 500);
    assert_eq!(inspected["config_schema"]["type"], "object");
    let listed = &author.json(&["list"])["plugins"][0];
    for what in ["name", "version", "summary", "digest"] {
        assert_eq!(inspected[what], listed[what]);
    }
    // A reader that closes the pipe early is no error.
    let mut command = author.command(&["inspect", file]);
    let closed = std::io::pipe().unwrap().1;
    assert!(command.stdout(closed).status().unwrap().success());
    let stores = author.json(&["inspect", author.install("analytics").to_str().unwrap()]);
    assert_eq!(stores["stores"][0]["schema_version"], 1);
}

#[test]
fn an_unusable_file_is_rejected_with_the_reason() {
    let author = AuthorFolder::new();
    // An empty component, a text file, and a missing file.
    fs::write(author.path().join("empty.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    fs::write(author.path().join("text.wasm"), "not a component").unwrap();
    for (file, part) in [
        ("empty.wasm", "empty.wasm cannot be used: "),
        ("text.wasm", "text.wasm cannot be used: "),
        ("missing.wasm", "missing.wasm cannot be used: No such file"),
    ] {
        assert_contains(&author.fail(1, &["inspect", file]), &[part]);
    }
}
