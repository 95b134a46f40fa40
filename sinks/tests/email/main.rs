//! The email sink between a real Kafka and a real SMTP server: mails come once, twice at most, and nothing is lost.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod letters;
mod line;
mod outcomes;
mod records;
mod refusals;
#[path = "../sheets/running.rs"]
mod running;
