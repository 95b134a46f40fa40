//! The rules of the contract `wit/formline.wit` that its types cannot express: limits, names, and
//! how entries expire.
//!
//! The host (`processors`) enforces these rules, and the SDK's test bench repeats them, so that a
//! plug-in that passes its native tests behaves in the same way in a step. Both read them here;
//! neither imports the other. The crate has no dependencies and no state of its own.

mod limits;
mod names;
mod state;

pub use limits::{
    EventBudget, LIMITS, LONGEST_RETRY, Limits, RECORD_OVERHEAD, Refusal, record_bytes,
};
pub use names::{
    MAX_NAMES, NAME_BYTES, is_name, is_reserved_header, is_timestamp, is_version, rejection_code,
};
pub use state::{ScanPage, expires_ms, is_alive, scan_start};
