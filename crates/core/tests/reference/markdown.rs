//! The table of keys as pages of the reference.

use std::{collections::BTreeMap, fmt::Write as _};

use formline_core::config::{
    ConfigKey, Format, Literal, Presence, Section, ValueType, keys::app_toml::sink::KINDS,
};

use super::example::{all_keys, header, join, nested, section_example};

const GENERATED: &str = "<!-- Generated from crates/core/src/config/keys. Do not edit; run \
    FORMLINE_WRITE_REFERENCE=1 cargo test -p formline-core --test reference -->\n";

const APP_HEAD: &str = "\
Each app is a folder with the file `app.toml` and the JSON Schemas of its forms. `formline check` \
reports all errors in it at once, each with file, line and remedy, and Formline does not start with \
an app that has one. An editor with a TOML language server completes and explains the keys if the \
first line is

```toml
#:schema ../../schemas/app.schema.json
```

with the path of [`schemas/app.schema.json`](../../schemas/app.schema.json).
";

const SETTINGS_HEAD: &str = "\
An editor with a TOML language server completes and explains the keys if the first line of the file \
is `#:schema` and the path of [`schemas/formline.schema.json`](../../schemas/formline.schema.json). \
The variables `FORMLINE_DATA`, `FORMLINE_LOG_FORMAT` and `FORMLINE_PLUGINS` belong to options of the \
command line and are described there.
";

/// The page of `app.toml`.
pub(crate) fn app(file: &Section) -> String {
    let mut page = format!(
        "# app.toml\n\n{GENERATED}\n{}\n\n{APP_HEAD}",
        file.description
    );
    sections(&mut page, "", file);
    formats(&mut page, file);
    page
}

/// The page of `formline.toml` and the variables.
pub(crate) fn settings(file: &Section) -> String {
    let title = "# formline.toml and variables";
    let mut page = format!(
        "{title}\n\n{GENERATED}\n{}\n\n{SETTINGS_HEAD}",
        file.description
    );
    page += "\n## Top level\n\n";
    table(&mut page, file, None);
    example(&mut page, &section_example("# formline.toml", file, None));
    sections(&mut page, "", file);
    formats(&mut page, file);
    page
}

/// A heading for each table, below it the tables in it.
fn sections(page: &mut String, path: &str, section: &Section) {
    for key in section.keys {
        let Some(inner) = nested(key) else { continue };
        let path = join(path, key.name);
        let header = header(key, &path);
        let level = "#".repeat(2 + path.matches('.').count());
        let _ = write!(page, "\n{level} {header}\n\n{}\n\n", inner.description);
        table(page, inner, None);
        if inner.keys.iter().any(|key| !key.kinds.is_empty()) {
            kinds(page, &header, inner);
        } else {
            example(page, &section_example(&header, inner, None));
        }
        sections(page, &path, inner);
    }
}

fn kinds(page: &mut String, header: &str, section: &Section) {
    for (kind, description) in KINDS {
        let _ = write!(page, "\n### kind = \"{kind}\"\n\n{description}\n\n");
        table(page, section, Some(kind));
        example(page, &section_example(header, section, Some(kind)));
    }
}

fn example(page: &mut String, text: &str) {
    let _ = write!(page, "\n```toml\n{text}```\n");
}

/// The keys that every kind has, or those of one kind alone.
fn table(page: &mut String, section: &Section, kind: Option<&str>) {
    let keys = || {
        let keys = section.keys.iter().copied();
        keys.filter(|key| match kind {
            None => key.kinds.is_empty(),
            Some(kind) => !key.kinds.is_empty() && key.applies_to(Some(kind)),
        })
    };
    let has_variables = keys().any(|key| key.variable.is_some());
    let variables = if has_variables { " Variable |" } else { "" };
    let line = if has_variables { "---|" } else { "" };
    let _ = writeln!(page, "| Key | Type | Default |{variables} Meaning |");
    let _ = writeln!(page, "|---|---|---|{line}---|");
    for key in keys() {
        let name = if key.in_file {
            format!("`{}`", key.name)
        } else {
            "*variable only*".to_owned()
        };
        let variable = if has_variables {
            variable(key)
        } else {
            String::new()
        };
        let (kind, default, meaning) = (type_of(key), default(key), key.description);
        let _ = writeln!(
            page,
            "| {name} | {kind} | {default} |{variable} {meaning} |"
        );
    }
}

fn variable(key: &ConfigKey) -> String {
    let names = key.variable.into_iter().chain(key.fallback);
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => " – |".to_owned(),
        names => format!(" {} |", names.join(", else ")),
    }
}

fn default(key: &ConfigKey) -> String {
    match &key.presence {
        Presence::Required => "**required**".to_owned(),
        Presence::Optional => "–".to_owned(),
        Presence::Default(Literal::Integer(number)) => format!("{number}"),
        Presence::Default(default) => format!("`{default}`"),
    }
}

fn type_of(key: &ConfigKey) -> String {
    let format = key.value.format();
    let format = format.map(|format| format!(" ([{}](#formats))", format.title));
    let format = format.unwrap_or_default();
    match &key.value {
        ValueType::Text(_) | ValueType::Url(_) => format!("string{format}"),
        ValueType::Texts(..) => format!("string or array of strings{format}"),
        ValueType::Integer(range) => format!("integer, {} to {}", range.start(), range.end()),
        ValueType::Flag => "boolean".to_owned(),
        ValueType::Choice(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        }
        ValueType::TextMap(_) => format!("table of strings{format}"),
        ValueType::TextLists(_) => format!("table of arrays of strings{format}"),
        ValueType::Json => "any value".to_owned(),
        ValueType::Table(_) => "table".to_owned(),
        ValueType::Tables(_) => "array of tables".to_owned(),
    }
}

/// The formats of the strings in a file.
fn formats(page: &mut String, file: &Section) {
    let keys = all_keys(file).into_iter();
    let formats = keys.filter_map(|(_, key)| key.value.format());
    let formats: BTreeMap<&str, &Format> = formats.map(|format| (format.title, format)).collect();
    *page += "\n## Formats\n\n| Format | Rule |\n|---|---|\n";
    for (title, format) in formats {
        let _ = writeln!(page, "| {title} | {} |", format.rule);
    }
}
