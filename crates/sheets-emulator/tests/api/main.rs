//! The sheets emulator as its clients see it: real HTTP against a real server on a random port.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "json! makes values, and tests hand them on"
)]

mod batch;
mod client;
mod durability;
mod fault;
mod limits;
mod metadata;
mod page;
mod people;
mod server;
mod values;
mod vocabulary;
