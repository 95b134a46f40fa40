//! The plug-in: selects the columns of its configuration from each submission.

use formline_plugin_sdk::prelude::*;

use crate::row::{Cell, Row};

#[derive(Debug)]
pub(crate) struct Rows {
    config: Config,
}

/// `{ "columns": ["roll", { "field": "/address/city", "title": "City" }] }`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The cells of a row, in order.
    #[schemars(length(min = 1))]
    columns: Vec<Column>,
    /// The form's name in the rows, if it should differ from the form through which the submission
    /// was sent.
    #[schemars(length(min = 1))]
    form: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(from = "ColumnConfig")]
struct Column {
    field: String,
    title: String,
}

/// A field, or a field with a title of its own. A field is a name, or a JSON pointer if it starts
/// with `/`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum ColumnConfig {
    Field(String),
    Titled(TitledColumn),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TitledColumn {
    field: String,
    title: String,
}

// === impl Column ===

impl From<ColumnConfig> for Column {
    fn from(config: ColumnConfig) -> Self {
        match config {
            ColumnConfig::Titled(TitledColumn { field, title }) => Self { field, title },
            ColumnConfig::Field(field) => Self {
                title: field.clone(),
                field,
            },
        }
    }
}

// === impl Rows ===

impl Plugin for Rows {
    type Config = Config;
    const INPUTS: &[&str] = &["submissions"];
    const OUTPUTS: &[&str] = &["rows"];

    fn new(config: Config) -> Result<Self, InitError> {
        Ok(Self { config })
    }

    fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject> {
        if event.is_deletion() {
            return Err(Reject::skip("deletion"));
        }
        let form = match &self.config.form {
            Some(form) => form.clone(),
            None => event.form()?,
        };
        let submission = event.object()?;
        let columns = self.config.columns.iter();
        let cells =
            columns.map(|Column { field, title }| Cell::new(field, title, submission.get(field)));
        let row = Record::json(&Row::new(&form, cells.collect()))?;
        out.send("rows", row.key(form))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use formline_plugin_sdk::testing::{Input, Outcome, Partition, Sent};
    use serde_json::json;

    use super::*;

    fn process(config: &str, input: Input) -> Outcome {
        Partition::<Rows>::start(config).unwrap().process(input)
    }

    fn submission(value: impl Into<Vec<u8>>) -> Input {
        Input::new(value)
            .key("99999")
            .header("ce_source", "/forms/student-data")
    }

    fn row(config: &str, value: &str) -> Sent {
        process(config, submission(value)).unwrap().pop().unwrap()
    }

    /// The JSON text of the only cell of a row.
    fn value(json: &str) -> String {
        let sent = row(r#"{"columns":["a"]}"#, json);
        let cell = sent.text().split_once(r#""value":"#).unwrap().1;
        cell.strip_suffix("}]}").unwrap().to_owned()
    }

    fn code(outcome: Outcome) -> String {
        match outcome {
            Err(Reject::DeadLetter { code, .. }) => code,
            other => panic!("{other:?} is not a dead letter"),
        }
    }

    #[test]
    fn a_submission_becomes_a_row_keyed_by_its_form() {
        let config = r#"{"columns":[{"field":"roll","title":"Roll"},"name"]}"#;
        let sent = row(config, r#"{"name":"Ann","roll":"99999","university":"X"}"#);
        assert_eq!(
            (sent.port.as_str(), sent.key_text()),
            ("rows", "student-data")
        );
        let expected = concat!(
            r#"{"version":1,"form":"student-data","cells":["#,
            r#"{"column":"roll","title":"Roll","value":"99999"},"#,
            r#"{"column":"name","title":"name","value":"Ann"}]}"#
        );
        assert_eq!(sent.text(), expected);
    }

    #[test]
    fn scalars_pass_exactly_as_submitted() {
        for scalar in [
            "10.10",
            "1e400",
            "-0",
            "12345678901234567890123456789",
            "true",
            "null",
            r#""""#,
            r#""=HYPERLINK(\"x\")""#,
            r#""\u00e9\n🦀 e\u0301""#,
        ] {
            assert_eq!(value(&format!(r#"{{"a": {scalar} }}"#)), scalar);
        }
    }

    #[test]
    fn nested_values_become_compact_text() {
        let json = r#"{"a": { "b c" : [ 1.50, "x \" , \\" ] ,
            "d": "\\" } }"#;
        let text: String = serde_json::from_str(&value(json)).unwrap();
        assert_eq!(text, r#"{"b c":[1.50,"x \" , \\"],"d":"\\"}"#);
    }

    #[test]
    fn deeply_nested_values_become_text() {
        let deep = format!("{}{}", "[ ".repeat(200_000), "]".repeat(200_000));
        let text: String = serde_json::from_str(&value(&format!(r#"{{"a":{deep}}}"#))).unwrap();
        assert_eq!(text, deep.replace(' ', ""));
    }

    #[test]
    fn a_missing_field_is_null_and_a_pointer_finds_a_nested_one() {
        let config =
            r#"{"columns":["x",{"field":"/address/city","title":"City"},"/tags/1","/name/x"]}"#;
        let sent = row(
            config,
            r#"{"name":"A","address":{"city":"Graz"},"tags":[1,2]}"#,
        );
        let cells = sent.json()["cells"].clone();
        assert_eq!(
            cells[0],
            json!({"column": "x", "title": "x", "value": null})
        );
        assert_eq!(
            cells[1],
            json!({"column": "/address/city", "title": "City", "value": "Graz"})
        );
        assert_eq!(cells[2]["value"], 2);
        assert_eq!(cells[3]["value"], json!(null));
    }

    #[test]
    fn a_configured_form_replaces_the_header() {
        let config = r#"{"columns":["a"],"form":"all"}"#;
        let sent = process(config, Input::new("{}")).unwrap();
        assert_eq!(
            (sent[0].key_text(), &sent[0].json()["form"]),
            ("all", &json!("all"))
        );
    }

    #[test]
    fn a_submission_that_cannot_become_a_row_is_rejected() {
        let config = r#"{"columns":["a"]}"#;
        assert_eq!(code(process(config, Input::new("{}"))), "no-source");
        for value in ["[]", "1", "null", "{", r#"{"a":1}{"#, "\u{feff}{}"] {
            assert_eq!(
                code(process(config, submission(value))),
                "malformed-json",
                "{value}"
            );
        }
        let latin_1 = &b"{\"a\":\"\xe9\"}"[..];
        assert_eq!(code(process(config, submission(latin_1))), "malformed-json");
    }

    #[test]
    fn a_deletion_is_skipped() {
        let outcome = process(r#"{"columns":["a"]}"#, submission(""));
        assert_eq!(outcome, Err(Reject::skip("deletion")));
    }

    #[test]
    fn the_schema_validates_the_configuration() {
        let validator = jsonschema::validator_for(&Partition::<Rows>::config_schema()).unwrap();
        let titled = json!({"field": "a", "title": "A"});
        assert!(validator.is_valid(&json!({"columns": ["a", titled], "form": "f"})));
        for bad in [
            json!({}),
            json!({"columns": []}),
            json!({"columns": "a"}),
            json!({"columns": [1]}),
            json!({"columns": [{"field": "a"}]}),
            json!({"columns": [{"field": "a", "title": "A", "width": 3}]}),
            json!({"columns": ["a"], "colums": []}),
        ] {
            assert!(!validator.is_valid(&bad), "{bad}");
        }
    }
}
