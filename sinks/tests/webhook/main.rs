//! The webhook sink between a real Kafka and a real receiver, which verifies with the crate standardwebhooks: what fails is
//! called again by the schedule and holds up nobody, and nothing behind the firewall is called.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod addresses;
mod crashes;
#[path = "../email/letters.rs"]
mod letters;
mod line;
mod outcomes;
#[path = "../email/records.rs"]
mod records;
#[path = "../sheets/running.rs"]
mod running;
