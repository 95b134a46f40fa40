//! Gives the texts of a URL-encoded or multipart form the types of the schema. The rules, all of them:
//!
//! - a **number** is what JSON would call one, with spaces around it taken away;
//! - a **boolean** is `true` or `on` (what browsers send for a ticked box), or `false` or `off`, in any case. A required
//!   one that is missing is false, since browsers do not send a box that is not ticked;
//! - a **list** is every value of that name, in order, each with the type of the items; empty ones are left out;
//! - an **empty text** is an absent field. If the field is required it stays empty when it is a text, and is null when
//!   it may be null;
//! - everything else stays a text, and a field that comes several times without being a list becomes one: the schema
//!   then says what is wrong with it.

use serde_json::{Map, Number, Value};

use crate::{
    fields::{Field, Fields, Kind},
    numbers,
};

/// The submission that the pairs mean.
pub(crate) fn typed(pairs: Vec<(String, String)>, fields: &Fields) -> Value {
    let mut object = Map::new();
    for (name, text) in pairs {
        let field = fields.get(&name);
        let Some(value) = value(text, field) else {
            continue;
        };
        let is_list = field.is_some_and(|field| matches!(field.kind, Kind::List(_)));
        match object.get_mut(&name) {
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
            None if is_list => drop(object.insert(name, Value::Array(vec![value]))),
            None => drop(object.insert(name, value)),
        }
    }
    for field in fields
        .iter()
        .filter(|field| field.required && field.kind == Kind::Boolean)
    {
        object.entry(&field.name).or_insert(Value::Bool(false));
    }
    Value::Object(object)
}

/// One value; none if it counts as absent.
fn value(text: String, field: Option<&Field>) -> Option<Value> {
    match field {
        None => Some(Value::String(text)),
        Some(Field {
            kind: Kind::List(items),
            ..
        }) if !text.is_empty() => Some(of_kind(text, items)),
        Some(field) if !text.is_empty() => Some(of_kind(text, &field.kind)),
        Some(Field {
            required: true,
            nullable: true,
            ..
        }) => Some(Value::Null),
        Some(Field {
            required: true,
            kind: Kind::Text,
            ..
        }) => Some(Value::String(text)),
        Some(_) => None,
    }
}

fn of_kind(text: String, kind: &Kind) -> Value {
    let typed = match kind {
        Kind::Number => number(text.trim()),
        Kind::Boolean => boolean(&text),
        Kind::Text | Kind::List(_) | Kind::Object => None,
    };
    typed.unwrap_or(Value::String(text))
}

fn number(text: &str) -> Option<Value> {
    let number: Number = text.parse().ok()?;
    numbers::is_exact(text).then_some(Value::Number(number))
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

    fn typed_by(properties: &Value, required: &[&str], pairs: &[(&str, &str)]) -> Value {
        let schema = json!({ "properties": properties, "required": required });
        let pairs = pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        typed(pairs, &Fields::of(&schema))
    }

    #[test]
    fn texts_take_the_types_of_the_schema() {
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
        assert_eq!(typed_by(&properties, &[], &pairs), expected);
    }

    #[test]
    fn what_does_not_fit_stays_as_it_was_sent() {
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
        assert_eq!(typed_by(&properties, &[], &pairs), expected);
        let huge = [("age", "12345678901234567890123")];
        assert_eq!(
            typed_by(&properties, &[], &huge),
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
        assert_eq!(typed_by(&properties, &[], &pairs), json!({}));
        let all = typed_by(&properties, &["a", "b", "c", "d"], &pairs);
        assert_eq!(all, json!({ "a": "", "c": null, "d": false }));
    }
}
