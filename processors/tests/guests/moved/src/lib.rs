//! A later version of the plug-in `misbehave` whose entries have another format, for the tests of
//! stores.

use std::time::Duration;

use formline_plugin_sdk::prelude::*;

struct Moved;

impl Plugin for Moved {
    type Config = NoConfig;
    const INPUTS: &[&str] = &["in"];
    const OUTPUTS: &[&str] = &["out"];
    const STORES: &[StoreDeclaration] = &[StoreDeclaration { name: "seen", schema_version: 2 }];

    fn new(_: NoConfig) -> Result<Self, InitError> {
        Ok(Self)
    }

    /// `what KEY` sends the stored value of the key, `briefly KEY` stores it for a second.
    fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject> {
        let text = String::from_utf8_lossy(event.value()).into_owned();
        match text.split_once(' ') {
            Some(("what", key)) => {
                let kept = out.store("seen").get(key)?;
                out.send("out", Record::new(kept.unwrap_or_else(|| b"nothing".to_vec())))
            }
            Some(("briefly", key)) => {
                out.store("seen").put_for(key, b"seen briefly", Duration::from_secs(1))?;
                out.send("out", Record::new(event.value()))
            }
            _ => {
                out.store("seen").put(&text, b"seen 2")?;
                out.send("out", Record::new(event.value()))
            }
        }
    }

    fn migrate(
        store: &str,
        from_version: u32,
        key: &[u8],
        value: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, String> {
        match key.split(|byte| *byte == b' ').next() {
            Some(b"drop") => Ok(None),
            Some(b"stuck") => Err("the entry says so".to_owned()),
            _ => {
                let value = String::from_utf8_lossy(&value);
                Ok(Some(format!("{value}, moved from {store} {from_version}").into_bytes()))
            }
        }
    }
}

register!(Moved);
