//! The plug-in: which fields are added, and when they are not.

use std::collections::BTreeMap;

use formline_plugin_sdk::prelude::*;
use serde_json::Value;

use crate::source::{Source, SourceConfig};

#[derive(Debug)]
pub(crate) struct Enrich {
    additions: Vec<Addition>,
}

/// `{ "add": { "full_text": { "template": "{name} ({roll})" }, "channel": { "value": "web" } } }`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The fields to add, by name, each with the source of its value: `value`, `template`,
    /// `upper_of`, `lower_of` or `domain_of`. They are written in the order of their names.
    #[schemars(extend("minProperties" = 1))]
    add: BTreeMap<String, SourceConfig>,
}

#[derive(Debug)]
struct Addition {
    name: String,
    /// The name as JSON text.
    name_json: String,
    source: Source,
}

// === impl Enrich ===

impl Plugin for Enrich {
    type Config = Config;
    const INPUTS: &[&str] = &["submissions"];
    const OUTPUTS: &[&str] = &["enriched"];
    const COUNTERS: &[&str] = &["fields_already_there", "fields_without_source"];

    fn new(config: Config) -> Result<Self, InitError> {
        let additions = config.add.into_iter().map(Addition::new);
        Ok(Self {
            additions: additions.collect::<Result<_, _>>()?,
        })
    }

    fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject> {
        if event.is_deletion() {
            return Err(Reject::skip("deletion"));
        }
        let submission = event.object()?;
        let mut enriched = opened(event.value());
        let mut first = submission.is_empty();
        for addition in &self.additions {
            // Submitted fields take precedence over configured ones.
            if submission.contains(&addition.name) {
                out.count("fields_already_there", 1);
                continue;
            }
            let Some(value) = addition.source.value(&submission) else {
                out.count("fields_without_source", 1);
                continue;
            };
            if !std::mem::take(&mut first) {
                enriched.push(b',');
            }
            enriched.extend_from_slice(addition.name_json.as_bytes());
            enriched.push(b':');
            enriched.extend_from_slice(value.as_bytes());
        }
        enriched.push(b'}');
        out.send("enriched", Record::new(enriched))
    }
}

/// An object's text without its closing brace.
fn opened(object: &[u8]) -> Vec<u8> {
    let end = object.trim_ascii_end().len() - 1;
    object[..end].to_vec()
}

// === impl Addition ===

impl Addition {
    fn new((name, source): (String, SourceConfig)) -> Result<Self, InitError> {
        Ok(Self {
            name_json: Value::from(name.as_str()).to_string(),
            name,
            source: Source::new(source)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use formline_plugin_sdk::testing::{Input, Partition};
    use serde_json::json;

    use super::*;

    fn partition(add: &Value) -> Partition<Enrich> {
        Partition::start(&json!({ "add": add }).to_string()).unwrap()
    }

    fn enriched(add: &Value, submission: &str) -> String {
        let sent = partition(add).process(Input::new(submission)).unwrap();
        assert_eq!(sent.len(), 1);
        sent[0].text().to_owned()
    }

    #[test]
    fn each_source_adds_its_field_in_the_order_of_names() {
        let add = json!({
            "mail_domain": {"domain_of": "email"},
            "label": {"template": "{name} ({roll})"},
            "loud": {"upper_of": "name"},
            "quiet": {"lower_of": "name"},
            "channel": {"value": {"kind": "web", "n": [1, null]}},
        });
        let submission = r#"{"name":"Größe","roll":7,"email":"ann@Example.ORG"}"#;
        let expected = concat!(
            r#"{"name":"Größe","roll":7,"email":"ann@Example.ORG","channel":{"kind":"web","n":[1,null]},"#,
            r#""label":"Größe (7)","loud":"GRÖSSE","mail_domain":"example.org","quiet":"größe"}"#,
        );
        assert_eq!(enriched(&add, submission), expected);
    }

    #[test]
    fn submitted_fields_are_kept_byte_for_byte() {
        let submission = r#"{ "z" :10.10,"a":1e400, "n":123456789012345678901234567890,"s":"\u00e9\/","z":[ 1 ] "#;
        let text = enriched(&json!({"new": {"value": 1}}), &format!("{submission}}} \n"));
        assert_eq!(text, format!(r#"{submission},"new":1}}"#));
    }

    #[test]
    fn fields_are_added_to_an_empty_object() {
        assert_eq!(
            enriched(&json!({"a": {"value": 1}, "b": {"value": 2}}), "{ }"),
            r#"{ "a":1,"b":2}"#
        );
        assert_eq!(enriched(&json!({"a": {"upper_of": "x"}}), "{}"), "{}");
    }

    #[test]
    fn a_submitted_field_is_never_overwritten() {
        let mut partition = partition(&json!({"a": {"value": 1}, "b": {"value": 2}}));
        let sent = partition.process(Input::new(r#"{"\u0061":null}"#)).unwrap();
        assert_eq!(sent[0].text(), r#"{"\u0061":null,"b":2}"#);
        assert_eq!(partition.counter("fields_already_there"), 1);
    }

    #[test]
    fn a_field_without_its_source_is_omitted_and_counted() {
        let add = json!({
            "a": {"template": "{x}"},
            "b": {"upper_of": "n"},
            "c": {"lower_of": "x"},
            "d": {"domain_of": "name"},
        });
        let mut partition = partition(&add);
        let sent = partition
            .process(Input::new(r#"{"name":"Ann","n":5}"#))
            .unwrap();
        assert_eq!(sent[0].text(), r#"{"name":"Ann","n":5}"#);
        assert_eq!(partition.counter("fields_without_source"), 4);
    }

    #[test]
    fn names_and_texts_are_escaped() {
        let add = json!({"a\"b": {"template": "{x}"}});
        let text = enriched(&add, r#"{"x":"\"},\u0000{\ud83e\udd80"}"#);
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap()["a\"b"],
            "\"},\0{🦀"
        );
    }

    #[test]
    fn the_key_and_the_time_are_those_of_the_submission() {
        let input = Input::new("{}").key("99999").timestamp_ms(8);
        let sent = partition(&json!({"a": {"value": 1}}))
            .process(input)
            .unwrap();
        assert_eq!(
            (sent[0].port.as_str(), sent[0].key_text()),
            ("enriched", "99999")
        );
        assert_eq!(sent[0].timestamp_ms, 8);
    }

    #[test]
    fn deeply_nested_values_are_kept() {
        let deep = format!(r#"{{"a":{}{}"#, "[".repeat(300_000), "]".repeat(300_000));
        let text = enriched(
            &json!({"b": {"template": "{/a/0/x}"}, "c": {"value": 1}}),
            &format!("{deep}}}"),
        );
        assert_eq!(text, format!(r#"{deep},"c":1}}"#));
    }

    #[test]
    fn anything_but_an_object_is_rejected() {
        for value in [
            "[]",
            "1",
            "null",
            "}",
            "{",
            "{}}",
            r#""{}""#,
            "{\"a\":\u{0}}",
        ] {
            let outcome = partition(&json!({"a": {"value": 1}})).process(Input::new(value));
            let Err(Reject::DeadLetter { code, .. }) = outcome else {
                panic!("{value} should be rejected");
            };
            assert_eq!(code, "malformed-json");
        }
        let deletion = partition(&json!({"a": {"value": 1}})).process(Input::new(""));
        assert_eq!(deletion, Err(Reject::skip("deletion")));
    }

    #[test]
    fn the_schema_validates_the_configuration() {
        let validator = jsonschema::validator_for(&Partition::<Enrich>::config_schema()).unwrap();
        for good in [
            json!({"add": {"a": {"value": null}}}),
            json!({"add": {"a": {"template": "{x}"}, "b": {"domain_of": "c"}}}),
        ] {
            assert!(validator.is_valid(&good), "{good}");
            assert!(
                Partition::<Enrich>::start(&good.to_string()).is_ok(),
                "{good}"
            );
        }
        for bad in [
            json!({}),
            json!({"add": []}),
            json!({"add": {"a": {}}}),
            json!({"add": {"a": "text"}}),
            json!({"add": {"a": {"value": 1, "template": "x"}}}),
            json!({"add": {"a": {"title_of": "x"}}}),
            json!({"add": {"a": {"value": 1}}, "drop": []}),
        ] {
            assert!(!validator.is_valid(&bad), "{bad}");
            assert!(
                Partition::<Enrich>::start(&bad.to_string()).is_err(),
                "{bad}"
            );
        }
        assert!(!validator.is_valid(&json!({"add": {}})));
        let unclosed = Partition::<Enrich>::start(r#"{"add":{"a":{"template":"{"}}}"#);
        assert_eq!(unclosed.unwrap_err().code, "bad-template");
    }
}
