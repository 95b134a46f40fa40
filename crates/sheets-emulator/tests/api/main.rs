//! The sheets emulator as its clients see it: HTTP requests to a server on a random port.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "json! creates owned values, which tests pass on"
)]

mod batch;
mod client;
mod durability;
mod fault;
mod harness;
mod limits;
mod manual_edits;
mod metadata;
mod page;
mod server;
mod values;
