//! The row, version 1: the format that this plug-in sends and that sinks for rows read.
//!
//! ```json
//! {"version":1,"form":"student-data","cells":[{"column":"roll","title":"Roll","value":"99999"}]}
//! ```
//!
//! A value is a JSON string, number, boolean or null, written exactly as in the submission, whose
//! types are those of the form's schema. An object or array becomes its compact JSON text, as a
//! string. A field that the submission does not contain becomes null. A reader must reject a
//! version that it does not know.

use serde::Serialize;
use serde_json::value::RawValue;

/// Incremented when a reader of the previous version would misread a row.
const VERSION: u32 = 1;

/// One row.
#[derive(Debug, Serialize)]
pub(crate) struct Row<'a> {
    version: u32,
    form: &'a str,
    cells: Vec<Cell<'a>>,
}

/// One cell, with what is needed to find its column and to write a heading.
#[derive(Debug, Serialize)]
pub(crate) struct Cell<'a> {
    column: &'a str,
    title: &'a str,
    value: Value<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Missing,
    Scalar(&'a RawValue),
    Nested(String),
}

// === impl Row ===

impl<'a> Row<'a> {
    pub(crate) fn new(form: &'a str, cells: Vec<Cell<'a>>) -> Self {
        Self {
            version: VERSION,
            form,
            cells,
        }
    }
}

// === impl Cell ===

impl<'a> Cell<'a> {
    pub(crate) fn new(column: &'a str, title: &'a str, value: Option<&'a RawValue>) -> Self {
        let value = match value {
            None => Value::Missing,
            Some(value) if value.get().starts_with(['{', '[']) => Value::Nested(compact(value)),
            Some(value) => Value::Scalar(value),
        };
        Self {
            column,
            title,
            value,
        }
    }
}

/// Removes the white space between tokens. Parsing and serializing instead would round numbers, and
/// deep nesting could overflow the stack.
fn compact(json: &RawValue) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |&c: &char| {
        let space = !in_string && matches!(c, ' ' | '\t' | '\n' | '\r');
        in_string ^= c == '"' && !escaped;
        escaped = in_string && c == '\\' && !escaped;
        !space
    };
    json.get().chars().filter(keep).collect()
}
