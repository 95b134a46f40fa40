//! The table of keys against everything that depends on it: the reader, the JSON Schemas and the
//! reference. `FORMLINE_WRITE_REFERENCE=1` writes the generated files.
#![allow(clippy::unwrap_used)]

mod example;
mod formats;
mod json_schema;
mod markdown;

use std::{
    fs,
    path::{Path, PathBuf},
};

use formline_core::{
    Diagnostic, Settings,
    app::{self, UnknownPlugins, schema::Schema},
    config::{ConfigKey, Literal, Presence, Section, ValueType, keys},
};
use serde_json::Value;

use self::example::{Replacement, example};

const APP: &Section = &keys::app_toml::file::SECTION;
const SETTINGS: &Section = &keys::formline_toml::file::SECTION;

/// Set to write the generated files instead of comparing them.
const WRITE: &str = "FORMLINE_WRITE_REFERENCE";

/// A value that no key accepts.
const WRONG: &str = "[[1]]";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn app_schema() -> Schema {
    let schema = json_schema::document("app.toml of a Formline app", APP);
    Schema::compile(schema).unwrap()
}

fn settings_schema() -> Schema {
    let title = "formline.toml, the settings of an installation";
    Schema::compile(json_schema::document(title, SETTINGS)).unwrap()
}

/// Asserts that the schema accepts or rejects a TOML text.
fn assert_schema(schema: &Schema, text: &str, accepts: bool) {
    let value: Value = toml::from_str(text).unwrap();
    let violations = schema.violations(&value);
    assert_eq!(violations.is_empty(), accepts, "{violations:?} in\n{text}");
}

/// Loads the text as an app, beside the files that its examples name.
fn load_app(text: &str) -> Result<(), Vec<Diagnostic>> {
    let folder = tempfile::tempdir().unwrap();
    let schema = r#"{ "properties": { "roll": {}, "name": {} } }"#;
    fs::write(folder.path().join("student-data.schema.json"), schema).unwrap();
    fs::write(folder.path().join("app.toml"), text).unwrap();
    app::load(&[folder.path().to_owned()], &UnknownPlugins, &|_| None).map(|_| ())
}

fn load_settings(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Vec<Diagnostic>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("formline.toml");
    fs::write(&file, text).unwrap();
    Settings::load(Some(&file), &|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

/// Redis has either a server or Sentinels; an example of all keys has both.
fn without_redis_server(text: &str) -> String {
    let url = |line: &&str| !line.starts_with("url = \"redis:");
    text.lines().filter(url).collect::<Vec<_>>().join("\n")
}

#[test]
fn generated_files_are_current() {
    let json = |schema: Schema| serde_json::to_string_pretty(schema.source()).unwrap() + "\n";
    let files = [
        ("schemas/app.schema.json", json(app_schema())),
        ("schemas/formline.schema.json", json(settings_schema())),
        ("docs/reference/app.md", markdown::app(APP)),
        ("docs/reference/settings.md", markdown::settings(SETTINGS)),
    ];
    for (name, expected) in files {
        let path = repository().join(name);
        if std::env::var_os(WRITE).is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &expected).unwrap();
        }
        assert!(
            fs::read_to_string(&path).is_ok_and(|found| found == expected),
            "{name} is stale; run {WRITE}=1 cargo test -p formline-core --test reference"
        );
    }
}

#[test]
fn the_apps_of_this_repository_name_and_satisfy_the_schema() {
    let app_schema = app_schema();
    let folders = fs::read_dir(repository().join("apps")).unwrap();
    let files: Vec<PathBuf> = folders
        .map(|folder| folder.unwrap().path().join("app.toml"))
        .collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let line = "#:schema ../../schemas/app.schema.json\n";
        assert!(text.starts_with(line), "{} names no schema", file.display());
        assert_schema(&app_schema, &text, true);
    }
}

#[test]
fn examples_of_all_keys_are_accepted() {
    let app_schema = app_schema();
    let settings_schema = settings_schema();
    for (kind, _) in keys::app_toml::sink::KINDS {
        let text = example(APP, Some(kind), None);
        load_app(&text).unwrap_or_else(|found| panic!("{found:#?} in\n{text}"));
        assert_schema(&app_schema, &text, true);
    }
    let text = example(SETTINGS, None, None);
    assert_schema(&settings_schema, &text, true);
    let text = without_redis_server(&text);
    load_settings(&text, &[]).unwrap_or_else(|found| panic!("{found:#?} in\n{text}"));
    let url = "[redis]\nurl = \"redis://127.0.0.1:6379/0\"";
    assert!(load_settings(url, &[]).unwrap().redis.is_some());
}

/// A key that no code reads would accept a wrong value.
#[test]
fn every_key_is_read() {
    let app_schema = app_schema();
    let settings_schema = settings_schema();
    for (kind, _) in keys::app_toml::sink::KINDS {
        for key in example::keys(APP, Some(kind)) {
            let text = example(APP, Some(kind), Some(Replacement { key, value: WRONG }));
            assert_schema(&app_schema, &text, false);
            assert_wrong_type(load_app(&text).err(), key, &text);
        }
    }
    for key in example::keys(SETTINGS, None) {
        let text = example(SETTINGS, None, Some(Replacement { key, value: WRONG }));
        assert_schema(&settings_schema, &text, false);
        let found = load_settings(&without_redis_server(&text), &[]).err();
        assert_wrong_type(found, key, &text);
    }
}

fn assert_wrong_type(found: Option<Vec<Diagnostic>>, key: &ConfigKey, text: &str) {
    let found = found.unwrap_or_default();
    let is_read = found
        .iter()
        .any(|diagnostic| diagnostic.problem == "this value is an array");
    assert!(is_read, "`{}` is not read: {found:?} in\n{text}", key.name);
}

#[test]
fn every_variable_is_read() {
    let base = [
        ("FORMLINE_REDIS_SENTINELS", "x:1"),
        ("FORMLINE_REDIS_MASTER", "x"),
        ("FORMLINE_SMTP_URL", "smtp://x"),
    ];
    let without = load_settings("", &base);
    let mut count = 0;
    for (path, key) in example::all_keys(SETTINGS) {
        let name = format!("FORMLINE_{path}").replace('.', "_").to_uppercase();
        assert!(
            key.variable.is_none_or(|variable| variable == name),
            "{name}"
        );
        let value = other_value(key);
        for variable in key.variable.into_iter().chain(key.fallback) {
            let variables = [&[(variable, value.as_str())], &base[..]].concat();
            assert_ne!(load_settings("", &variables), without, "{variable}={value}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

/// A valid value other than the default.
fn other_value(key: &ConfigKey) -> String {
    match (&key.value, &key.presence, key.example) {
        (ValueType::Integer(range), Presence::Default(Literal::Integer(default)), _) => {
            let next = default + 1;
            let other = if range.contains(&next) {
                next
            } else {
                default - 1
            };
            other.to_string()
        }
        (ValueType::Flag, Presence::Default(Literal::Flag(default)), _) => (!default).to_string(),
        (_, Presence::Default(Literal::Text(default)), _) => format!("{default},b:1"),
        (.., Literal::Text(text)) => text.to_owned(),
        (.., Literal::Texts(texts)) => texts.join(","),
        (.., example) => example.to_string(),
    }
}

/// What the reader rejects, the schema rejects, too, as far as it can express it.
#[test]
fn invalid_values_are_rejected_by_reader_and_schema() {
    let app_schema = app_schema();
    let settings_schema = settings_schema();
    let app = |kind: &str, from: &str, to: &str| {
        let text = example(APP, Some(kind), None);
        assert!(text.contains(from), "`{from}` is not in\n{text}");
        let text = text.replacen(from, to, 1);
        assert!(load_app(&text).is_err(), "{text}");
        assert_schema(&app_schema, &text, false);
    };
    app(
        "sheets",
        "name = \"student-data\"",
        "name = \"Student data\"",
    );
    app("sheets", "name = \"student-data\"", "");
    app("sheets", "partitions = 6", "partitions = 0");
    app("sheets", "partitions = 6", "partition = 6");
    app("sheets", "path = \"/", "path = \"");
    app("sheets", "trim = true", "trims = true");
    app("sheets", "[\"https://example.org\"]", "\"example.org\"");
    app("sheets", "[\"student-data.rows\"]", "[]");
    app("sheets", "[\"student-data.rows\"]", "[\"a/b\"]");
    app("sheets", "kind = \"sheets\"", "kind = \"sheet\"");
    app("sheets", "kind = \"sheets\"", "kind = \"postgres\"");
    app("sheets", "tab = ", "tba = ");
    app("sheets", "buffer = \"memory\"", "buffer = \"disk\"");
    app("postgres", "schema = \"formline\"", "schema = \"Formline\"");
    app("email", "subject = ", "subjects = ");
    app("email", "\"5m\"", "\"soon\"");
    app("webhook", "url = \"https:", "url = \"ftp:");
    app("webhook", "in_flight = 8", "per_form = 8");
    for text in [
        "bootstarp = \"a:1\"",
        "grace_ms = -1",
        "postgres_url = \"mysql://db\"",
        "webhook_private_addresses = [\"intranet\"]",
        "kafka = { acks = 1 }",
        "[ingest]\nbody_kib = \"1\"",
        "[smtp]\nurl = \"http://mail\"",
        "[redis]\nurl = \"redis://\"",
        "[redis]\npassword = \"s3cret\"",
        "[redis]\nsentinels = \"a\"\nmaster = \"b\"",
    ] {
        assert!(load_settings(text, &[]).is_err(), "{text}");
        assert_schema(&settings_schema, text, false);
    }
}
