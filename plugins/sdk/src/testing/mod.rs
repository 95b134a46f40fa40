//! Runs a plug-in natively, in unit tests, with the same loop as in a component.
//!
//! ```
//! # use formline_plugin_sdk::prelude::*;
//! # struct Echo;
//! # impl Plugin for Echo {
//! #     type Config = NoConfig;
//! #     const INPUTS: &[&str] = &["submissions"];
//! #     const OUTPUTS: &[&str] = &["echoes"];
//! #     fn new(_: NoConfig) -> Result<Self, InitError> { Ok(Self) }
//! #     fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject> {
//! #         out.send("echoes", Record::new(event.value()))
//! #     }
//! # }
//! # register!(Echo);
//! use formline_plugin_sdk::testing::{Input, Partition};
//!
//! let mut partition = Partition::<Echo>::start("{}").unwrap();
//! let sent = partition.process(Input::new(r#"{"name":"Ann"}"#).key("1")).unwrap();
//! assert_eq!(sent[0].port, "echoes");
//! assert_eq!(sent[0].json()["name"], "Ann");
//! ```

mod bench;
mod partition;
mod record;

pub use self::bench::Limits;
pub use self::partition::Partition;
pub use self::record::{Input, Outcome, Sent};
