//! JSON Schemas of forms and of plug-in configurations: compiled once, never fetched, never slow.

use jsonschema::{
    PatternOptions, ValidationError, Validator, error::ValidationErrorKind as ErrorKind,
};
use serde_json::Value;

/// A compiled JSON Schema 2020-12.
#[derive(Debug)]
pub struct Schema {
    source: Value,
    validator: Validator,
}

/// One violation.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Violation {
    /// JSON pointer of the offending value as a URI fragment (`#/age`), as RFC 9457 shows it.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
    /// The keyword of the schema that it violates.
    pub keyword: String,
}

/// Why a schema is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It points to another document. Fetching files or addresses that a form's author names would let the author
    /// read what only the server can.
    #[error("`$ref` to `{0}` leaves the document; copy the definition under `$defs`")]
    Remote(String),
    /// It is not a valid schema.
    #[error("it is not a json schema 2020-12: {0}")]
    Invalid(String),
}

/// An answer lists at most so many violations; a body of 10,000 wrong fields must not become a larger answer.
pub const VIOLATION_LIMIT: usize = 100;

/// A detail quotes the offending value, which may be a megabyte.
const DETAIL_LIMIT: usize = 300;

// === impl Schema ===

impl Schema {
    /// Compiles it. Formats are checked, and patterns run in linear time.
    pub fn compile(source: Value) -> Result<Self, Error> {
        refuse_remote(&source)?;
        let validator = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex())
            .build(&source)
            .map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(Self { source, validator })
    }

    /// The schema as it was written.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Whether the value satisfies it; much cheaper than `violations` if it does.
    pub fn is_valid(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    /// Everything that is wrong with the value, at most `VIOLATION_LIMIT`.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let errors = self.validator.iter_errors(value);
        let violations = errors.flat_map(|error| violations(&error));
        violations.take(VIOLATION_LIMIT).collect()
    }
}

/// The error, at each field that it is about.
fn violations(error: &ValidationError<'_>) -> Vec<Violation> {
    let object = format!("#{}", error.instance_path().as_str());
    let at = |name: &str| format!("{object}/{}", name.replace('~', "~0").replace('/', "~1"));
    match error.kind() {
        // A missing field is named, not the object that lacks it: a form shows the message beside its field.
        ErrorKind::Required { property } => {
            let pointer = property.as_str().map_or(object.clone(), at);
            vec![violation(error, pointer, error.to_string())]
        }
        ErrorKind::AdditionalProperties { unexpected }
        | ErrorKind::UnevaluatedProperties { unexpected } => unexpected
            .iter()
            .take(VIOLATION_LIMIT)
            .map(|name| violation(error, at(name), "there is no such field".to_owned()))
            .collect(),
        _ => vec![violation(error, object, error.to_string())],
    }
}

fn violation(error: &ValidationError<'_>, pointer: String, mut detail: String) -> Violation {
    let keyword = error.kind().keyword().to_owned();
    if detail.len() > DETAIL_LIMIT {
        detail.truncate(detail.floor_char_boundary(DETAIL_LIMIT));
        detail.push('…');
    }
    Violation {
        pointer,
        detail,
        keyword,
    }
}

fn refuse_remote(value: &Value) -> Result<(), Error> {
    match value {
        Value::Object(object) => object
            .iter()
            .try_for_each(|(key, inner)| match inner.as_str() {
                Some(target) if is_reference(key) && !target.starts_with('#') => {
                    Err(Error::Remote(target.to_owned()))
                }
                _ => refuse_remote(inner),
            }),
        Value::Array(items) => items.iter().try_for_each(refuse_remote),
        _ => Ok(()),
    }
}

fn is_reference(key: &str) -> bool {
    matches!(key, "$ref" | "$dynamicRef" | "$recursiveRef")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn student() -> Schema {
        Schema::compile(json!({
            "type": "object",
            "properties": { "roll": { "type": "string", "pattern": "^[0-9]+$" }, "a/b": {} },
            "required": ["roll", "a/b"],
            "additionalProperties": false,
        }))
        .expect("it is a schema")
    }

    #[test]
    fn every_violation_is_named_with_its_place() {
        let violations = student().violations(&json!({ "roll": "x", "extra": 1 }));
        let places: Vec<_> = violations
            .iter()
            .map(|v| (v.pointer.as_str(), v.keyword.as_str()))
            .collect();
        assert!(places.contains(&("#/roll", "pattern")), "{places:?}");
        assert!(places.contains(&("#/a~1b", "required")), "{places:?}");
        assert!(
            places.contains(&("#/extra", "additionalProperties")),
            "{places:?}"
        );
    }

    #[test]
    fn long_details_are_cut() {
        let violations = student().violations(&json!({ "roll": "ä".repeat(10_000), "a/b": 1 }));
        assert!(violations[0].detail.len() < DETAIL_LIMIT + 10);
    }

    #[test]
    fn schemas_cannot_reach_out_and_cannot_be_slow() {
        for target in [
            "https://example.org/s.json",
            "file:///etc/passwd",
            "other.json",
        ] {
            let refused = Schema::compile(json!({ "properties": { "a": { "$ref": target } } }));
            assert!(matches!(refused, Err(Error::Remote(_))), "{target}");
        }
        assert!(Schema::compile(json!({ "$defs": { "a": {} }, "$ref": "#/$defs/a" })).is_ok());
        let slow =
            Schema::compile(json!({ "type": "string", "pattern": "^(a+)+$" })).expect("linear");
        assert!(!slow.is_valid(&json!("a".repeat(50_000) + "b")));
        assert!(Schema::compile(json!({ "type": "strnig" })).is_err());
        assert!(Schema::compile(json!({ "pattern": "(?=look-around)" })).is_err());
    }
}
