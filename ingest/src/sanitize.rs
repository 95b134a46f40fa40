//! Cleans the texts of a submission before it is checked, as the form declares it. Names of fields are left as they are.

use formline_core::{
    app::Sanitize,
    schema::{VIOLATION_LIMIT, Violation},
};
use serde_json::Value;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

use crate::numbers::escape;

/// Cleans every text in place and returns what cannot be cleaned.
pub(crate) fn sanitize(value: &mut Value, rules: &Sanitize) -> Vec<Violation> {
    let mut found = Vec::new();
    walk(value, rules, Path::Root, &mut found);
    found
}

/// Where the walk stands. A list on the stack: no text is built unless something is wrong.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    Member(&'a Self, &'a str),
    Element(&'a Self, usize),
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

/// Sheets, PostgreSQL and C programs end or refuse a text at this character.
const NUL: &str = "the character U+0000 is not taken";

/// Cleans one text, or says why that is impossible: keyword and detail.
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
    // Bytes are never fewer than characters, and cheaper to count.
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
    fn texts_are_cleaned_wherever_they_stand() {
        let mut value =
            json!({ "a": " x\u{7}\t ", "b": [{ "c": "e\u{301}" }], "d": "<b>=1+1</b>" });
        assert_eq!(sanitize(&mut value, &Sanitize::default()), []);
        assert_eq!(
            value,
            json!({ "a": "x", "b": [{ "c": "é" }], "d": "<b>=1+1</b>" })
        );
    }

    #[test]
    fn what_a_form_does_not_ask_for_is_not_done() {
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
    fn what_cannot_be_cleaned_is_named() {
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
