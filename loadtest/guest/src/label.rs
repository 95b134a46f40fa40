//! The JSON work that is measured in native code and in WebAssembly. This file is compiled into
//! both.

use serde_json::{Map, Value};

/// Parses a JSON object, adds a field that combines two others, and serializes the object. Returns
/// `None` if the value is not such an object.
pub(crate) fn labelled(value: &[u8]) -> Option<Vec<u8>> {
    let mut object: Map<String, Value> = serde_json::from_slice(value).ok()?;
    let text = |name| object.get(name).and_then(Value::as_str);
    let label = format!("{} ({})", text("name")?, text("roll")?);
    object.insert("label".to_owned(), label.into());
    serde_json::to_vec(&object).ok()
}
