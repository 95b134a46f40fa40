//! The webhook sink between a real Kafka and a real receiver, which verifies signatures with the
//! crate standardwebhooks: a failed call is retried by the schedule and holds up no other, and
//! private networks are not called.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod addresses;
mod crashes;
#[path = "../email/dead_letters.rs"]
mod dead_letters;
mod outcomes;
mod pipeline;
#[path = "../email/records.rs"]
mod records;
#[path = "../sheets/running.rs"]
mod running;
