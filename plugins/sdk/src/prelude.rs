//! The items that nearly every plug-in needs.

pub use schemars::{self, JsonSchema};
pub use serde::{Deserialize, Serialize};

pub use crate::{
    Event, InitError, Level, NoConfig, Object, Outputs, Plugin, Record, Reject, RejectKind,
    StoreDeclaration, register,
};
