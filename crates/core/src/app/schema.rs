//! JSON Schemas of forms and of plug-in configurations. They are compiled once, refer to no other
//! document, and their patterns run in linear time.

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
    /// JSON pointer of the invalid value as a URI fragment (`#/age`), as in RFC 9457.
    pub pointer: String,
    /// What is wrong with the value.
    pub detail: String,
    /// The keyword of the schema that the value violates.
    pub keyword: String,
}

/// Why a schema is rejected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It refers to another document. Fetching files or addresses that the author of a form names
    /// would let the author read what only the server can.
    #[error("`$ref` to `{0}` refers to another document; copy the definition to `$defs`")]
    Remote(String),
    /// It is not a valid schema.
    #[error("not a JSON Schema 2020-12: {0}")]
    Invalid(String),
}

/// Maximum number of violations in a response: a body of 10,000 invalid fields must not cause a
/// larger response.
pub const VIOLATION_LIMIT: usize = 100;

/// Maximum length of a detail in bytes. It quotes the invalid value, which may be a megabyte.
const DETAIL_LIMIT: usize = 300;

// === impl Schema ===

impl Schema {
    /// Compiles a schema. Formats are validated, and patterns run in linear time.
    ///
    /// # Errors
    ///
    /// Fails if the schema is invalid or refers to another document.
    pub fn compile(source: Value) -> Result<Self, Error> {
        reject_remote(&source)?;
        let validator = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex())
            .build(&source)
            .map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(Self { source, validator })
    }

    /// Returns the schema as it was written.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Returns whether the value is valid. For valid values this is much cheaper than
    /// [`violations`](Self::violations).
    pub fn is_valid(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    /// Returns everything that is wrong with the value, at most [`VIOLATION_LIMIT`] violations.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let errors = self.validator.iter_errors(value);
        let violations = errors.flat_map(|error| violations(&error));
        violations.take(VIOLATION_LIMIT).collect()
    }
}

/// The violations of one error, one for each field that it concerns.
fn violations(error: &ValidationError<'_>) -> Vec<Violation> {
    let object = format!("#{}", error.instance_path().as_str());
    let at = |name: &str| format!("{object}/{}", name.replace('~', "~0").replace('/', "~1"));
    match error.kind() {
        // The pointer names the missing field, not the object: a form shows the message beside it.
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

fn reject_remote(value: &Value) -> Result<(), Error> {
    match value {
        Value::Object(object) => object
            .iter()
            .try_for_each(|(key, inner)| match inner.as_str() {
                Some(target) if is_reference(key) && !target.starts_with('#') => {
                    Err(Error::Remote(target.to_owned()))
                }
                _ => reject_remote(inner),
            }),
        Value::Array(items) => items.iter().try_for_each(reject_remote),
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
        .expect("the schema is valid")
    }

    #[test]
    fn every_violation_has_its_pointer() {
        let violations = student().violations(&json!({ "roll": "x", "extra": 1 }));
        let pointers: Vec<_> = violations
            .iter()
            .map(|v| (v.pointer.as_str(), v.keyword.as_str()))
            .collect();
        assert!(pointers.contains(&("#/roll", "pattern")), "{pointers:?}");
        assert!(pointers.contains(&("#/a~1b", "required")), "{pointers:?}");
        assert!(
            pointers.contains(&("#/extra", "additionalProperties")),
            "{pointers:?}"
        );
    }

    #[test]
    fn long_details_are_truncated() {
        let violations = student().violations(&json!({ "roll": "ä".repeat(10_000), "a/b": 1 }));
        assert!(violations[0].detail.len() < DETAIL_LIMIT + 10);
    }

    #[test]
    fn schemas_refer_to_no_other_document_and_are_not_slow() {
        for target in [
            "https://example.org/s.json",
            "file:///etc/passwd",
            "other.json",
        ] {
            let rejected = Schema::compile(json!({ "properties": { "a": { "$ref": target } } }));
            assert!(matches!(rejected, Err(Error::Remote(_))), "{target}");
        }
        assert!(Schema::compile(json!({ "$defs": { "a": {} }, "$ref": "#/$defs/a" })).is_ok());
        let slow =
            Schema::compile(json!({ "type": "string", "pattern": "^(a+)+$" })).expect("linear");
        assert!(!slow.is_valid(&json!("a".repeat(50_000) + "b")));
        assert!(Schema::compile(json!({ "type": "strnig" })).is_err());
        assert!(Schema::compile(json!({ "pattern": "(?=look-around)" })).is_err());
    }
}
