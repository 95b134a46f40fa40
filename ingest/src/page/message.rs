//! What is wrong with a field, in words for the person who fills it in. Programs get the violations as they are.

use formline_core::schema::Violation;

use crate::fields::{Field, Kind};

/// The message beside the field. It never shows a regular expression: a description says better what is wanted.
pub(super) fn message(error: &Violation, field: &Field) -> String {
    match error.keyword.as_str() {
        "required" => "Please fill this in.".to_owned(),
        "pattern" => unfit(field, "This is not in the expected form."),
        "format" => match field.schema["format"].as_str() {
            Some("email") => "This is not an e-mail address.".to_owned(),
            Some("uri") => "This is not a web address, such as https://example.org.".to_owned(),
            Some("date") => "This is not a date, such as 2026-01-31.".to_owned(),
            _ => unfit(field, "This is not in the expected form."),
        },
        "type" if field.schema["type"] == "integer" => "This is not a whole number.".to_owned(),
        "type" if field.kind == Kind::Number => "This is not a number.".to_owned(),
        "minLength" if field.schema["minLength"] == 1 => "Please fill this in.".to_owned(),
        _ => error.detail.clone(),
    }
}

fn unfit(field: &Field, otherwise: &str) -> String {
    match field.schema["description"].as_str() {
        Some(description) => format!("Not as expected: {description}"),
        None => otherwise.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fields::Fields;

    fn of(schema: &Value, keyword: &str) -> String {
        let fields = Fields::of(&json!({ "properties": { "field": schema } }));
        let error = Violation {
            pointer: "#/field".into(),
            detail: "as the validator says it".into(),
            keyword: keyword.into(),
        };
        message(&error, fields.get("field").expect("it has one"))
    }

    #[test]
    fn people_read_the_description_and_no_pattern() {
        let described = json!({ "pattern": "^[0-9]{10}$", "description": "Ten digits" });
        assert_eq!(of(&described, "pattern"), "Not as expected: Ten digits");
        assert_eq!(
            of(&json!({ "pattern": "^[0-9]{10}$" }), "pattern"),
            "This is not in the expected form."
        );
    }

    #[test]
    fn common_mistakes_have_plain_words() {
        for (schema, keyword, part) in [
            (json!({ "type": "string" }), "required", "fill this in"),
            (json!({ "minLength": 1 }), "minLength", "fill this in"),
            (json!({ "minLength": 2 }), "minLength", "the validator"),
            (json!({ "format": "email" }), "format", "e-mail address"),
            (json!({ "format": "uri" }), "format", "web address"),
            (json!({ "format": "date" }), "format", "a date"),
            (json!({ "format": "ipv4" }), "format", "expected form"),
            (json!({ "type": "integer" }), "type", "whole number"),
            (json!({ "type": "number" }), "type", "not a number"),
            (json!({ "type": "number" }), "minimum", "the validator"),
        ] {
            let message = of(&schema, keyword);
            assert!(message.contains(part), "{keyword}: {message}");
        }
    }
}
