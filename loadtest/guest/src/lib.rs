//! The plug-in that the bench measures with.

mod label;

use formline_plugin_sdk::prelude::*;

struct Exercise(Work);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    work: Work,
}

/// What is done with an event.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Work {
    /// It is accepted.
    Next,
    /// It is sent on as it is.
    Send,
    /// It is sent on with another field.
    Label,
}

impl Plugin for Exercise {
    type Config = Config;
    const INPUTS: &[&str] = &["in"];
    const OUTPUTS: &[&str] = &["out"];

    fn new(config: Config) -> Result<Self, InitError> {
        Ok(Self(config.work))
    }

    fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject> {
        match self.0 {
            Work::Next => Ok(()),
            Work::Send => out.send("out", Record::new(event.value())),
            Work::Label => {
                let labelled = label::labelled(event.value());
                let labelled = labelled.ok_or_else(|| Reject::malformed("not-a-student", ""))?;
                out.send("out", Record::new(labelled))
            }
        }
    }
}

register!(Exercise);
