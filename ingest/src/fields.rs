//! The fields of a form as its schema describes them: what `coerce` and `page` need to know of each.
//!
//! Only the properties at the top of the schema, with `$ref`s inside the document followed; what stands under `allOf`
//! and the like is checked but not known here.

use serde_json::Value;

/// All fields, in the order of the schema.
#[derive(Debug)]
pub(crate) struct Fields(Vec<Field>);

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Whether the schema demands it.
    pub(crate) required: bool,
    /// Whether it may be null.
    pub(crate) nullable: bool,
    /// Its schema.
    pub(crate) schema: Value,
}

/// What a field holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Text,
    /// Also whole numbers.
    Number,
    Boolean,
    List(Box<Self>),
    /// Something that a plain form cannot express.
    Object,
}

/// Longer chains of `$ref` are taken for circles.
const REFERENCES: usize = 16;

// === impl Fields ===

impl Fields {
    /// The fields of a schema.
    pub(crate) fn of(schema: &Value) -> Self {
        let required = schema["required"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let field = |(name, described): (&String, &Value)| {
            let described = resolve(schema, described);
            Field {
                kind: Kind::of(schema, described),
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

    pub(crate) fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|field| field.name == name)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.0.iter()
    }
}

// === impl Kind ===

impl Kind {
    /// If a text is among the allowed types, the field is a text: what was typed is kept as it is.
    fn of(root: &Value, schema: &Value) -> Self {
        let allowed = types(schema);
        let allows = |wanted| allowed.contains(&wanted);
        if allows("string") {
            Self::Text
        } else if allows("integer") || allows("number") {
            Self::Number
        } else if allows("boolean") {
            Self::Boolean
        } else if allows("array") {
            Self::List(Box::new(Self::of(root, resolve(root, &schema["items"]))))
        } else if allows("object") {
            Self::Object
        } else {
            Self::Text
        }
    }
}

/// The types that a schema allows: those that it names, else those of its `enum` or `const`.
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
    for _ in 0..REFERENCES {
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
    fn kinds_follow_types_values_and_references() {
        let fields = Fields::of(&json!({
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
        let kind = |name| fields.get(name).map(|field| field.kind.clone());
        assert_eq!(kind("age"), Some(Kind::Number));
        assert_eq!(kind("both"), Some(Kind::Text));
        assert_eq!(kind("maybe"), Some(Kind::Boolean));
        assert_eq!(kind("list"), Some(Kind::List(Box::new(Kind::Number))));
        assert_eq!(kind("choice"), Some(Kind::Number));
        assert_eq!(kind("any"), Some(Kind::Text));
        assert_eq!(kind("circle"), Some(Kind::Text));
        assert_eq!(kind("nested"), Some(Kind::Object));
        assert_eq!(kind("other"), None);
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
