//! The messages about invalid fields for the user of a form page. Programs get the violations of
//! the validator.

use formline_core::app::schema::Violation;

use crate::submission::fields::{Field, FieldType};

/// The message beside a field. It never contains a regular expression, but the field's description
/// if there is one.
pub(super) fn message(error: &Violation, field: &Field) -> String {
    match error.keyword.as_str() {
        "required" => "Please fill in this field.".to_owned(),
        "pattern" => unexpected(field),
        "format" => match field.schema["format"].as_str() {
            Some("email") => "Please enter an e-mail address.".to_owned(),
            Some("uri") => "Please enter a web address, such as https://example.org.".to_owned(),
            Some("date") => "Please enter a date, such as 2026-01-31.".to_owned(),
            _ => unexpected(field),
        },
        "type" if field.schema["type"] == "integer" => "Please enter a whole number.".to_owned(),
        "type" if field.field_type == FieldType::Number => "Please enter a number.".to_owned(),
        "minLength" if field.schema["minLength"] == 1 => "Please fill in this field.".to_owned(),
        _ => error.detail.clone(),
    }
}

fn unexpected(field: &Field) -> String {
    match field.schema["description"].as_str() {
        Some(description) => format!("This is not in the expected format: {description}"),
        None => "This is not in the expected format.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::submission::fields::Fields;

    fn message_for(schema: &Value, keyword: &str) -> String {
        let fields = Fields::from_schema(&json!({ "properties": { "field": schema } }));
        let error = Violation {
            pointer: "#/field".into(),
            detail: "the message of the validator".into(),
            keyword: keyword.into(),
        };
        message(
            &error,
            fields.get("field").expect("the schema has this field"),
        )
    }

    #[test]
    fn the_message_contains_the_description_and_no_pattern() {
        let described = json!({ "pattern": "^[0-9]{10}$", "description": "Ten digits" });
        assert_eq!(
            message_for(&described, "pattern"),
            "This is not in the expected format: Ten digits"
        );
        assert_eq!(
            message_for(&json!({ "pattern": "^[0-9]{10}$" }), "pattern"),
            "This is not in the expected format."
        );
    }

    #[test]
    fn common_errors_have_messages_of_their_own() {
        for (schema, keyword, part) in [
            (
                json!({ "type": "string" }),
                "required",
                "fill in this field",
            ),
            (json!({ "minLength": 1 }), "minLength", "fill in this field"),
            (json!({ "minLength": 2 }), "minLength", "the validator"),
            (json!({ "format": "email" }), "format", "e-mail address"),
            (json!({ "format": "uri" }), "format", "web address"),
            (json!({ "format": "date" }), "format", "a date"),
            (json!({ "format": "ipv4" }), "format", "expected format"),
            (json!({ "type": "integer" }), "type", "whole number"),
            (json!({ "type": "number" }), "type", "enter a number"),
            (json!({ "type": "number" }), "minimum", "the validator"),
        ] {
            let message = message_for(&schema, keyword);
            assert!(message.contains(part), "{keyword}: {message}");
        }
    }
}
