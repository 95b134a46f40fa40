//! Files that have every key of the table, with the values of its examples.

use std::fmt::Write as _;

use formline_core::config::{ConfigKey, Section, ValueType};

/// A value to write instead of the example of a key.
#[derive(Clone, Copy)]
pub(crate) struct Replacement {
    pub(crate) key: &'static ConfigKey,
    pub(crate) value: &'static str,
}

/// A whole file with every key that a sink of this kind has.
pub(crate) fn example(
    section: &Section,
    kind: Option<&str>,
    replacement: Option<Replacement>,
) -> String {
    let mut text = String::new();
    write(&mut text, "", section, kind, replacement);
    text
}

/// The header of a section and its keys with their examples.
pub(crate) fn section_example(header: &str, section: &Section, kind: Option<&str>) -> String {
    let mut text = format!("{header}\n");
    for key in file_keys(section, kind).filter(|key| nested(key).is_none()) {
        let line = format!("{} = {}", key.name, value(key, kind));
        let _ = match key.instead_of {
            Some(other) => writeln!(text, "# {line}  # instead of {other}"),
            None => writeln!(text, "{line}"),
        };
    }
    text
}

fn write(
    text: &mut String,
    path: &str,
    section: &Section,
    kind: Option<&str>,
    replacement: Option<Replacement>,
) {
    let replaced = |key: &ConfigKey| {
        let found = replacement.filter(|replacement| std::ptr::eq(replacement.key, key));
        found.map(|replacement| replacement.value)
    };
    // Values come first: TOML counts those below the header of a table as its own.
    for key in file_keys(section, kind) {
        match (replaced(key), nested(key)) {
            (Some(value), _) => drop(writeln!(text, "{} = {value}", key.name)),
            (None, None) => drop(writeln!(text, "{} = {}", key.name, value(key, kind))),
            (None, Some(_)) => {}
        }
    }
    for key in file_keys(section, kind).filter(|key| replaced(key).is_none()) {
        if let Some(inner) = nested(key) {
            let path = join(path, key.name);
            let _ = writeln!(text, "{}", header(key, &path));
            write(text, &path, inner, kind, replacement);
        }
    }
}

/// The example of a key, but the kind of the sink itself.
fn value(key: &ConfigKey, kind: Option<&str>) -> String {
    match (&key.value, kind) {
        (ValueType::Choice(words), Some(kind)) if words.contains(&kind) => format!("{kind:?}"),
        _ => key.example.to_string(),
    }
}

/// All keys of a file and of its tables that a wrong value can be written for.
pub(crate) fn keys(section: &Section, kind: Option<&str>) -> Vec<&'static ConfigKey> {
    let own = file_keys(section, kind).filter(|key| !matches!(key.value, ValueType::Json));
    let inner = file_keys(section, kind).filter_map(nested);
    own.chain(inner.flat_map(|inner| keys(inner, kind)))
        .collect()
}

/// All keys, also those that the file cannot have, with their paths.
pub(crate) fn all_keys(section: &Section) -> Vec<(String, &'static ConfigKey)> {
    let below = |key: &'static ConfigKey| {
        let inner = nested(key).map(all_keys).unwrap_or_default();
        let inner = inner.into_iter();
        let inner = inner.map(|(path, inner)| (join(key.name, &path), inner));
        std::iter::once((key.name.to_owned(), key)).chain(inner)
    };
    section.keys.iter().copied().flat_map(below).collect()
}

fn file_keys(section: &Section, kind: Option<&str>) -> impl Iterator<Item = &'static ConfigKey> {
    let keys = section.keys.iter().copied();
    keys.filter(move |key| key.in_file && key.applies_to(kind))
}

/// The section of a key that is a table.
pub(crate) fn nested(key: &ConfigKey) -> Option<&'static Section> {
    match key.value {
        ValueType::Table(section) | ValueType::Tables(section) => Some(section),
        _ => None,
    }
}

/// `[path]` or `[[path]]`.
pub(crate) fn header(key: &ConfigKey, path: &str) -> String {
    match key.value {
        ValueType::Tables(_) => format!("[[{path}]]"),
        _ => format!("[{path}]"),
    }
}

pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
