//! Sanitizes the texts of a submission before validation, as the form declares it. Names of fields
//! are not changed.

use formline_core::app::{
    Sanitize,
    schema::{VIOLATION_LIMIT, Violation},
};
use serde_json::Value;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

use super::json_pointer::escape;

/// The path to the current value. It is a linked list on the stack, so that no text is allocated
/// unless a value is not valid.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    Member(&'a Self, &'a str),
    Element(&'a Self, usize),
}

/// The detail for U+0000, which sheets, PostgreSQL and C programs reject or treat as the end of a
/// text.
const NUL: &str = "the character U+0000 is not allowed";

/// Sanitizes every text in place and returns a violation for each text that cannot be sanitized.
pub(crate) fn sanitize(value: &mut Value, rules: &Sanitize) -> Vec<Violation> {
    let mut found = Vec::new();
    walk(value, rules, Path::Root, &mut found);
    found
}

fn walk(value: &mut Value, rules: &Sanitize, path: Path<'_>, found: &mut Vec<Violation>) {
    match value {
        Value::String(text) => {
            if let Some((keyword, detail)) = clean(text, rules) {
                report(found, path, keyword, detail);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                walk(item, rules, Path::Element(&path, n), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                let path = Path::Member(&path, name);
                if name.contains('\0') {
                    report(found, path, "propertyNames", NUL.to_owned());
                }
                walk(member, rules, path, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Sanitizes one text, or returns the keyword and detail of the violation.
fn clean(text: &mut String, rules: &Sanitize) -> Option<(&'static str, String)> {
    if text.contains('\0') {
        return Some(("pattern", NUL.to_owned()));
    }
    if rules.drop_control && text.chars().any(is_dropped) {
        text.retain(|c| !is_dropped(c));
    }
    if rules.nfc && !text.is_ascii() && is_nfc_quick(text.chars()) != IsNormalized::Yes {
        *text = text.nfc().collect();
    }
    if rules.trim && text.trim().len() < text.len() {
        *text = text.trim().to_owned();
    }
    // A text has at least as many bytes as characters, and the bytes are cheaper to count.
    if text.len() > rules.max_length && text.chars().count() > rules.max_length {
        return Some((
            "maxLength",
            format!("the text is longer than {} characters", rules.max_length),
        ));
    }
    None
}

fn is_dropped(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}

fn report(found: &mut Vec<Violation>, path: Path<'_>, keyword: &str, detail: String) {
    if found.len() < VIOLATION_LIMIT {
        found.push(Violation {
            pointer: path.pointer(),
            detail,
            keyword: keyword.to_owned(),
        });
    }
}

// === impl Path ===

impl Path<'_> {
    fn pointer(self) -> String {
        match self {
            Self::Root => "#".to_owned(),
            Self::Member(parent, name) => format!("{}/{}", parent.pointer(), escape(name)),
            Self::Element(parent, n) => format!("{}/{n}", parent.pointer()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_sanitized_at_every_depth() {
        let mut value =
            json!({ "a": " x\u{7}\t ", "b": [{ "c": "e\u{301}" }], "d": "<b>=1+1</b>" });
        assert_eq!(sanitize(&mut value, &Sanitize::default()), []);
        assert_eq!(
            value,
            json!({ "a": "x", "b": [{ "c": "é" }], "d": "<b>=1+1</b>" })
        );
    }

    #[test]
    fn rules_that_are_off_change_nothing() {
        let rules = Sanitize {
            trim: false,
            nfc: false,
            drop_control: false,
            max_length: 10,
        };
        let mut value = json!(" e\u{301}\u{7} ");
        assert_eq!(sanitize(&mut value, &rules), []);
        assert_eq!(value, json!(" e\u{301}\u{7} "));
    }

    #[test]
    fn texts_that_cannot_be_sanitized_are_reported() {
        let rules = Sanitize {
            max_length: 3,
            ..Sanitize::default()
        };
        let mut value = json!({ "a/b": ["ok", "n\0l"], "long": "äöüß", "fits": " äöü ", "n\0": 1 });
        let found = sanitize(&mut value, &rules);
        let named: Vec<_> = found
            .iter()
            .map(|v| (v.pointer.as_str(), v.keyword.as_str()))
            .collect();
        let expected = [
            ("#/a~1b/1", "pattern"),
            ("#/long", "maxLength"),
            ("#/n\0", "propertyNames"),
        ];
        assert_eq!(named, expected);
    }
}
