//! The fields of a form as its schema describes them, for `coerce` and `page`.
//!
//! Covers the properties at the top level of the schema, and follows a `$ref` within the document.
//! Properties under `allOf` and similar keywords are validated, but not listed here.

use serde_json::Value;

/// The fields of a form, in the order of the schema.
#[derive(Debug)]
pub(crate) struct Fields(Vec<Field>);

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) field_type: FieldType,
    /// Whether the schema requires it.
    pub(crate) required: bool,
    /// Whether its value may be null.
    pub(crate) nullable: bool,
    /// Its schema, with `$ref` resolved.
    pub(crate) schema: Value,
}

/// The type of a field's value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum FieldType {
    Text,
    /// Includes integers.
    Number,
    Boolean,
    List(Box<Self>),
    /// A value that an HTML form cannot express.
    Object,
}

/// Maximum length of a chain of `$ref`; a longer one is assumed to be circular.
const MAX_REFERENCES: usize = 16;

// === impl Fields ===

impl Fields {
    /// Reads the fields of a schema.
    pub(crate) fn from_schema(schema: &Value) -> Self {
        let required = schema["required"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let field = |(name, described): (&String, &Value)| {
            let described = resolve(schema, described);
            Field {
                field_type: FieldType::from_schema(schema, described),
                required: required.iter().any(|one| one == name.as_str()),
                nullable: types(described).contains(&"null"),
                schema: described.clone(),
                name: name.clone(),
            }
        };
        Self(
            schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(field)
                .collect(),
        )
    }

    /// The field with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|field| field.name == name)
    }

    /// All fields in order.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.0.iter()
    }
}

// === impl FieldType ===

impl FieldType {
    /// A schema that allows texts among other types makes a text field, so that input is stored
    /// unchanged.
    fn from_schema(root: &Value, schema: &Value) -> Self {
        let allowed = types(schema);
        let allows = |wanted| allowed.contains(&wanted);
        if allows("string") {
            Self::Text
        } else if allows("integer") || allows("number") {
            Self::Number
        } else if allows("boolean") {
            Self::Boolean
        } else if allows("array") {
            Self::List(Box::new(Self::from_schema(
                root,
                resolve(root, &schema["items"]),
            )))
        } else if allows("object") {
            Self::Object
        } else {
            Self::Text
        }
    }
}

/// The types that a schema allows: those of `type`, or else those of the values in `enum` or
/// `const`.
fn types(schema: &Value) -> Vec<&str> {
    match (&schema["type"], &schema["enum"], &schema["const"]) {
        (Value::String(one), ..) => vec![one],
        (Value::Array(many), ..) => many.iter().filter_map(Value::as_str).collect(),
        (_, Value::Array(values), _) => values.iter().map(type_of).collect(),
        (_, _, Value::Null) => Vec::new(),
        (_, _, value) => vec![type_of(value)],
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn resolve<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..MAX_REFERENCES {
        let target = schema["$ref"]
            .as_str()
            .and_then(|target| target.strip_prefix('#'));
        match target.and_then(|pointer| root.pointer(pointer)) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn field_types_follow_from_types_values_and_references() {
        let fields = Fields::from_schema(&json!({
            "$defs": { "age": { "type": "integer" }, "circle": { "$ref": "#/$defs/circle" } },
            "properties": {
                "age": { "$ref": "#/$defs/age" },
                "both": { "type": ["number", "string"] },
                "maybe": { "type": ["boolean", "null"] },
                "list": { "type": "array", "items": { "$ref": "#/$defs/age" } },
                "choice": { "enum": [1, 2] },
                "any": {},
                "circle": { "$ref": "#/$defs/circle" },
                "nested": { "type": "object" },
            },
            "required": ["age"],
        }));
        let field_type = |name| fields.get(name).map(|field| field.field_type.clone());
        assert_eq!(field_type("age"), Some(FieldType::Number));
        assert_eq!(field_type("both"), Some(FieldType::Text));
        assert_eq!(field_type("maybe"), Some(FieldType::Boolean));
        assert_eq!(
            field_type("list"),
            Some(FieldType::List(Box::new(FieldType::Number)))
        );
        assert_eq!(field_type("choice"), Some(FieldType::Number));
        assert_eq!(field_type("any"), Some(FieldType::Text));
        assert_eq!(field_type("circle"), Some(FieldType::Text));
        assert_eq!(field_type("nested"), Some(FieldType::Object));
        assert_eq!(field_type("other"), None);
        assert!(
            fields
                .get("age")
                .is_some_and(|field| field.required && !field.nullable)
        );
        assert!(
            fields
                .get("maybe")
                .is_some_and(|field| !field.required && field.nullable)
        );
    }
}
