//! The table of keys as JSON Schema 2020-12.

use formline_core::config::{
    ConfigKey, Format, Literal, Presence, Section, ValueType, keys::app_toml::sink::KINDS,
};
use serde_json::{Map, Value, json};

/// The schema of a whole file.
pub(crate) fn document(title: &str, section: &Section) -> Value {
    let mut schema = Map::new();
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".to_owned(), json!(title));
    schema.insert("description".to_owned(), json!(section.description));
    schema.extend(object(section));
    Value::Object(schema)
}

/// A table whose unknown keys are rejected. Keys of one kind of sink are rejected by the others.
fn object(section: &Section) -> Map<String, Value> {
    let mut properties = Map::new();
    for key in section.keys.iter().filter(|key| key.in_file) {
        let schema = property(key);
        match properties.get_mut(key.name).and_then(Value::as_object_mut) {
            // Two kinds have the key with different defaults, which follow below.
            Some(first) => drop(first.remove("default")),
            None => drop(properties.insert(key.name.to_owned(), schema)),
        }
    }
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert(
        "required".to_owned(),
        required(section, |key| key.kinds.is_empty()),
    );
    schema.insert("additionalProperties".to_owned(), json!(false));
    if section.keys.iter().any(|key| !key.kinds.is_empty()) {
        let conditions = KINDS.iter().map(|(kind, _)| condition(section, kind));
        schema.insert("allOf".to_owned(), conditions.collect());
    }
    schema
}

/// What holds for one kind of sink.
fn condition(section: &Section, kind: &str) -> Value {
    let mut properties = Map::new();
    for key in section.keys.iter().filter(|key| !key.kinds.is_empty()) {
        let same_name = || section.keys.iter().filter(|other| other.name == key.name);
        if !same_name().any(|other| other.applies_to(Some(kind))) {
            properties.insert(key.name.to_owned(), json!(false));
        } else if same_name().count() > 1
            && key.applies_to(Some(kind))
            && let Presence::Default(default) = &key.presence
        {
            let default = json!({ "default": literal(*default) });
            properties.insert(key.name.to_owned(), default);
        }
    }
    let own = |key: &ConfigKey| !key.kinds.is_empty() && key.applies_to(Some(kind));
    json!({
        "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] },
        "then": { "properties": properties, "required": required(section, own) },
    })
}

fn required(section: &Section, applies: impl Fn(&ConfigKey) -> bool) -> Value {
    let required = section
        .keys
        .iter()
        .filter(|key| key.is_required() && applies(key));
    required.map(|key| json!(key.name)).collect()
}

fn property(key: &ConfigKey) -> Value {
    let mut schema = Map::new();
    schema.insert("description".to_owned(), json!(key.description));
    if let Value::Object(value) = value(key) {
        schema.extend(value);
    }
    if let Presence::Default(default) = &key.presence {
        schema.insert("default".to_owned(), literal(*default));
    }
    if !matches!(key.value, ValueType::Table(_) | ValueType::Tables(_)) {
        schema.insert("examples".to_owned(), json!([literal(key.example)]));
    }
    Value::Object(schema)
}

fn value(key: &ConfigKey) -> Value {
    let string = string(key.value.format(), key.is_required());
    match &key.value {
        ValueType::Text(_) | ValueType::Url(_) => string,
        ValueType::Texts(_, count) => strings(&string, *count.start(), *count.end()),
        ValueType::Integer(range) => {
            json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() })
        }
        ValueType::Flag => json!({ "type": "boolean" }),
        ValueType::Choice(words) => {
            json!({ "type": "string", "anyOf": [{ "enum": words }, { "pattern": VARIABLE }] })
        }
        ValueType::TextMap(_) => json!({ "type": "object", "additionalProperties": string }),
        ValueType::TextLists(_) => {
            let strings = strings(&string, 0, usize::MAX);
            json!({ "type": "object", "additionalProperties": strings })
        }
        ValueType::Json => json!({}),
        ValueType::Table(section) => Value::Object(object(section)),
        ValueType::Tables(section) => json!({ "type": "array", "items": object(section) }),
    }
}

/// Any text may contain `${NAME}`, whose value only the reader knows.
const VARIABLE: &str = r"\$\{";

pub(crate) fn string(format: Option<&Format>, is_required: bool) -> Value {
    match format {
        Some(format) => {
            let pattern = format!("^({})$|{VARIABLE}", format.pattern);
            json!({ "type": "string", "pattern": pattern })
        }
        None if is_required => json!({ "type": "string", "minLength": 1 }),
        None => json!({ "type": "string" }),
    }
}

/// An array of strings, or a single one.
fn strings(item: &Value, min: usize, max: usize) -> Value {
    let mut array = json!({ "type": "array", "items": item });
    if min > 0 {
        array["minItems"] = json!(min);
    }
    if max < usize::MAX {
        array["maxItems"] = json!(max);
    }
    json!({ "anyOf": [array, item] })
}

fn literal(literal: Literal) -> Value {
    let document: Value = toml::from_str(&format!("value = {literal}")).expect("it is TOML");
    document["value"].clone()
}
