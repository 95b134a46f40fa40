//! The schemas of the OpenAPI description: those of all responses, and one per form.

use formline_core::app::Form;
use serde_json::{Value, json};

use crate::submission::json_pointer::escape;

/// The name of a form's schema under `components`.
pub(super) fn component(form: &Form) -> String {
    format!("form-{}", form.name)
}

/// A reference to a schema under `components`.
pub(super) fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", escape(schema)) })
}

/// The schemas of requests and responses that do not depend on a form.
pub(super) fn shared_schemas() -> Value {
    let text = json!({ "type": "string" });
    let summary = json!({
        "app": text, "name": text, "path": text, "submissions": text, "dataschema": text,
    });
    json!({
        "Accepted": {
            "type": "object",
            "properties": {
                "id": { "type": "string", "format": "uuid" },
                "status": { "const": "accepted" },
                "received_at": { "type": "string", "format": "date-time" },
            },
            "required": ["id", "status", "received_at"],
        },
        "Problem": {
            "description": "RFC 9457",
            "type": "object",
            "properties": {
                "type": { "type": "string", "format": "uri" },
                "title": text,
                "status": { "type": "integer" },
                "detail": text,
                "instance": { "type": "string", "format": "uri" },
                "errors": { "type": "array", "items": reference("Violation") },
            },
            "required": ["type", "title", "status", "detail", "instance"],
        },
        "Violation": {
            "type": "object",
            "properties": { "pointer": text, "detail": text, "keyword": text },
            "required": ["pointer", "detail", "keyword"],
        },
        "Form": {
            "type": "object",
            "properties": summary,
            "required": ["app", "name", "path", "submissions", "dataschema"],
        },
        "Forms": {
            "type": "object",
            "properties": { "forms": { "type": "array", "items": reference("Form") } },
            "required": ["forms"],
        },
    })
}

/// A form's schema as a part of the description, with its references adjusted.
pub(super) fn embedded(form: &Form) -> Value {
    let mut schema = form.schema.source().clone();
    if let Some(object) = schema.as_object_mut() {
        object.shift_remove("$schema");
        object.shift_remove("$id");
    }
    let root = format!("#/components/schemas/{}", component(form));
    rebase(&mut schema, &root);
    schema
}

/// Makes references to the root of the schema point to `root`.
fn rebase(schema: &mut Value, root: &str) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some(pointer) = target.strip_prefix('#') {
                            *target = format!("{root}{pointer}");
                        }
                    }
                    other => rebase(other, root),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rebase(item, root)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_rebased_when_a_schema_is_embedded() {
        let mut schema =
            json!({ "properties": { "a": { "$ref": "#/$defs/b" } }, "anyOf": [{ "$ref": "#" }] });
        rebase(&mut schema, "#/components/schemas/x");
        assert_eq!(
            schema["properties"]["a"]["$ref"],
            "#/components/schemas/x/$defs/b"
        );
        assert_eq!(schema["anyOf"][0]["$ref"], "#/components/schemas/x");
    }
}
