//! Sends the submissions in which a field has one of the wanted values.

use formline_plugin_sdk::prelude::*;

/// The `config` of a step, such as `{ "field": "city", "values": ["Graz", "Linz"] }`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The field to compare: a name, or a JSON pointer if it starts with `/`.
    field: String,
    /// The values of submissions to keep.
    values: Vec<String>,
}

struct Keep(Config);

impl Plugin for Keep {
    type Config = Config;
    const INPUTS: &[&str] = &["submissions"];
    const OUTPUTS: &[&str] = &["kept"];

    fn new(config: Config) -> Result<Self, InitError> {
        Ok(Self(config))
    }

    fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject> {
        if event.is_deletion() {
            return Err(Reject::skip("deletion"));
        }
        let Config { field, values } = &self.0;
        let submission = event.object()?;
        let text = submission.text(field).unwrap_or_default();
        if !values.iter().any(|value| *value == text) {
            return Err(Reject::skip("not-wanted"));
        }
        out.send("kept", Record::new(event.value()))
    }
}

register!(Keep);

#[cfg(test)]
mod tests {
    use formline_plugin_sdk::testing::{Input, Outcome, Partition};

    use super::*;

    fn process(submission: &str) -> Outcome {
        let config = r#"{"field": "city", "values": ["Graz", "Linz"]}"#;
        let mut partition = Partition::<Keep>::start(config).expect("the configuration is valid");
        partition.process(Input::new(submission))
    }

    #[test]
    fn a_wanted_submission_is_sent_unchanged() {
        let sent = process(r#"{"city": "Linz", "n": 1.50}"#).expect("it is accepted");
        assert_eq!(sent[0].port, "kept");
        assert_eq!(sent[0].text(), r#"{"city": "Linz", "n": 1.50}"#);
    }

    #[test]
    fn submissions_with_another_city_or_none_are_skipped() {
        for submission in [r#"{"city": "Wien"}"#, "{}"] {
            assert_eq!(process(submission), Err(Reject::skip("not-wanted")));
        }
    }

    #[test]
    fn a_submission_that_is_not_an_object_is_dead_lettered() {
        let rejected = process("[").expect_err("it is rejected");
        assert!(matches!(rejected, Reject::DeadLetter { code, .. } if code == "malformed-json"));
    }
}
