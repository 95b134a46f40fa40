//! The work on JSON that is measured natively and in WebAssembly: this file is compiled into both.

use serde_json::{Map, Value};

/// Parses an object, adds a field that is made of two others, and writes all of it. None for anything else.
pub(crate) fn labelled(value: &[u8]) -> Option<Vec<u8>> {
    let mut object: Map<String, Value> = serde_json::from_slice(value).ok()?;
    let text = |name| object.get(name).and_then(Value::as_str);
    let label = format!("{} ({})", text("name")?, text("roll")?);
    object.insert("label".to_owned(), label.into());
    serde_json::to_vec(&object).ok()
}
