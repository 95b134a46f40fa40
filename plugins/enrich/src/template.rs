//! A text with fields in it: `{name} ({roll})`.

use std::borrow::Cow;

use formline_plugin_sdk::{InitError, Object};
use serde_json::value::RawValue;

/// A parsed template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(String),
}

// === impl Template ===

impl Template {
    /// Parses a template. A literal brace is written twice.
    ///
    /// # Errors
    /// `bad-template` for a brace without its counterpart, or an empty pair of braces.
    pub(crate) fn parse(template: &str) -> Result<Self, InitError> {
        let wrong = |what| {
            let detail =
                format!("template {template:?}: {what}; write {{{{ or }}}} for a literal brace");
            InitError::new("bad-template", detail)
        };
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = behind;
                continue;
            }
            let (field, behind) = match brace {
                "{" => rest
                    .split_once('}')
                    .ok_or_else(|| wrong("a { is not closed"))?,
                _ => return Err(wrong("a } has no opening brace")),
            };
            if field.is_empty() || field.contains('{') {
                return Err(wrong("{ and } must enclose exactly one field"));
            }
            parts.push(Part::Literal(std::mem::take(&mut literal)));
            parts.push(Part::Field(field.to_owned()));
            rest = behind;
        }
        literal.push_str(rest);
        parts.push(Part::Literal(literal));
        Ok(Self(parts))
    }

    /// The text for a submission; `None` if one of the fields is missing, null, or nested.
    pub(crate) fn render(&self, submission: &Object) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Field(field) => text.push_str(&scalar(submission.get(field)?)?),
            }
        }
        Some(text)
    }
}

/// Numbers and booleans keep their original text.
fn scalar(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get() {
        text if text.starts_with('"') => serde_json::from_str(text).ok().map(Cow::Owned),
        nested if nested.starts_with(['{', '[']) => None,
        "null" => None,
        plain => Some(Cow::Borrowed(plain)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rendered(template: &str, submission: &str) -> Option<String> {
        let submission = Object::parse(submission.as_bytes()).unwrap();
        Template::parse(template).unwrap().render(&submission)
    }

    #[test]
    fn fields_are_inserted_into_the_text() {
        let submission =
            r#"{"name":"J\u00f6rg \"J\"","roll":10.10,"ok":true,"at":{"city":"Graz"}}"#;
        for (template, text) in [
            ("{name} ({roll})", r#"Jörg "J" (10.10)"#),
            ("{ok}{/at/city}", "trueGraz"),
            ("{{{roll}}} {{}}", "{10.10} {}"),
            ("ä{roll}ö", "ä10.10ö"),
            ("", ""),
            ("plain", "plain"),
        ] {
            assert_eq!(
                rendered(template, submission).as_deref(),
                Some(text),
                "{template}"
            );
        }
    }

    #[test]
    fn a_missing_field_yields_no_text() {
        let submission = r#"{"a":null,"b":{},"c":[1],"d":"\ud800","ok":1}"#;
        for field in ["a", "b", "c", "d", "e", "/b/x"] {
            assert_eq!(
                rendered(&format!("{{ok}} {{{field}}}"), submission),
                None,
                "{field}"
            );
        }
    }

    #[test]
    fn braces_must_match() {
        for template in [
            "{", "}", "{name", "name}", "{}", "{a{b}", "{{a}", "{a}}", "ä{",
        ] {
            let error = Template::parse(template).unwrap_err();
            assert_eq!(error.code, "bad-template", "{template}");
        }
    }
}
