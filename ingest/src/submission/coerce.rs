//! Converts the texts of a URL-encoded or multipart form to the types of the schema. The rules are:
//!
//! - a **number** has the syntax of JSON numbers; surrounding whitespace is ignored;
//! - a **boolean** is `true` or `on` (which browsers send for a checked box), or `false` or `off`,
//!   in upper or lower case. A required boolean that is missing is false, because browsers do not
//!   send an unchecked box;
//! - a **list** contains all values of its name in order, each converted to the type of the items,
//!   without empty ones;
//! - an **empty text** means that the field is absent. If the field is required, it becomes null if
//!   null is allowed, and stays empty if it is a text;
//! - any other value stays a text, and a field that is no list but occurs several times becomes
//!   one: validation against the schema then reports it.

use serde_json::{Map, Number, Value};

use super::{
    fields::{Field, FieldType, Fields},
    json_numbers,
};

/// Builds a JSON object from the names and values of a form.
pub(super) fn coerce(pairs: Vec<(String, String)>, fields: &Fields) -> Value {
    let mut object = Map::new();
    for (name, text) in pairs {
        let field = fields.get(&name);
        let Some(value) = value(text, field) else {
            continue;
        };
        let is_list = field.is_some_and(|field| matches!(field.field_type, FieldType::List(_)));
        match object.get_mut(&name) {
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
            None if is_list => drop(object.insert(name, Value::Array(vec![value]))),
            None => drop(object.insert(name, value)),
        }
    }
    for field in fields
        .iter()
        .filter(|field| field.required && field.field_type == FieldType::Boolean)
    {
        object.entry(&field.name).or_insert(Value::Bool(false));
    }
    Value::Object(object)
}

/// Converts one value; `None` if it counts as absent.
fn value(text: String, field: Option<&Field>) -> Option<Value> {
    match field {
        None => Some(Value::String(text)),
        Some(Field {
            field_type: FieldType::List(items),
            ..
        }) if !text.is_empty() => Some(convert(text, items)),
        Some(field) if !text.is_empty() => Some(convert(text, &field.field_type)),
        Some(Field {
            required: true,
            nullable: true,
            ..
        }) => Some(Value::Null),
        Some(Field {
            required: true,
            field_type: FieldType::Text,
            ..
        }) => Some(Value::String(text)),
        Some(_) => None,
    }
}

fn convert(text: String, field_type: &FieldType) -> Value {
    let converted = match field_type {
        FieldType::Number => number(text.trim()),
        FieldType::Boolean => boolean(&text),
        FieldType::Text | FieldType::List(_) | FieldType::Object => None,
    };
    converted.unwrap_or(Value::String(text))
}

fn number(text: &str) -> Option<Value> {
    let number: Number = text.parse().ok()?;
    json_numbers::is_exact(text).then_some(Value::Number(number))
}

fn boolean(text: &str) -> Option<Value> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" => Some(Value::Bool(true)),
        "false" | "off" => Some(Value::Bool(false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn coerce_with(properties: &Value, required: &[&str], pairs: &[(&str, &str)]) -> Value {
        let schema = json!({ "properties": properties, "required": required });
        let pairs = pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        coerce(pairs, &Fields::from_schema(&schema))
    }

    #[test]
    fn texts_are_converted_to_the_types_of_the_schema() {
        let properties = json!({
            "age": { "type": "integer" }, "share": { "type": "number" }, "news": { "type": "boolean" },
            "tags": { "type": "array", "items": { "type": "integer" } }, "name": { "type": "string" },
        });
        let pairs = [
            ("age", " 21 "),
            ("share", "1e-3"),
            ("news", "on"),
            ("tags", "1"),
            ("tags", ""),
            ("tags", "2"),
            ("name", "21"),
            ("other", "21"),
        ];
        let expected = json!({
            "age": 21, "share": 0.001, "news": true, "tags": [1, 2], "name": "21", "other": "21"
        });
        assert_eq!(coerce_with(&properties, &[], &pairs), expected);
    }

    #[test]
    fn a_text_that_cannot_be_converted_is_kept() {
        let properties = json!({
            "age": { "type": "integer" }, "news": { "type": "boolean" }, "name": { "type": "string" },
        });
        let pairs = [
            ("age", "old"),
            ("news", "perhaps"),
            ("name", "a"),
            ("name", "b"),
            ("name", "c"),
        ];
        let expected = json!({ "age": "old", "news": "perhaps", "name": ["a", "b", "c"] });
        assert_eq!(coerce_with(&properties, &[], &pairs), expected);
        let huge = [("age", "12345678901234567890123")];
        assert_eq!(
            coerce_with(&properties, &[], &huge),
            json!({ "age": "12345678901234567890123" })
        );
    }

    #[test]
    fn empty_texts_are_absent_unless_the_field_is_required() {
        let properties = json!({
            "a": { "type": "string" }, "b": { "type": "integer" }, "c": { "type": ["integer", "null"] },
            "d": { "type": "boolean" },
        });
        let pairs = [("a", ""), ("b", ""), ("c", "")];
        assert_eq!(coerce_with(&properties, &[], &pairs), json!({}));
        let all = coerce_with(&properties, &["a", "b", "c", "d"], &pairs);
        assert_eq!(all, json!({ "a": "", "c": null, "d": false }));
    }
}
