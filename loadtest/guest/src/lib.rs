//! The plug-in of the bench.

mod label;

use formline_plugin_sdk::prelude::*;

struct Exercise(Work);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    work: Work,
}

/// What the plug-in does with each event.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Work {
    /// Takes the event and does nothing.
    Next,
    /// Forwards the event.
    Send,
    /// Adds a field to the JSON of the event and forwards it.
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
