//! A later version of the plug-in `misbehave`. The host must notice that it is worse.

use formline_plugin_sdk::prelude::*;

struct Worse;

impl Plugin for Worse {
    type Config = NoConfig;
    const INPUTS: &[&str] = &["in"];
    const OUTPUTS: &[&str] = &["out"];
    const STORES: &[StoreDeclaration] = &[StoreDeclaration { name: "seen", schema_version: 1 }];

    fn new(_: NoConfig) -> Result<Self, InitError> {
        Ok(Self)
    }

    fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject> {
        match event.value().split(|byte| *byte == b' ').next() {
            Some(b"ok") => out.send("out", Record::new(event.value())),
            Some(b"bug") => panic!("it was not there in the earlier version"),
            _ => Err(Reject::malformed("not-known", "only ok is")),
        }
    }
}

register!(Worse);
