//! The postgres sink between a real Kafka and a real PostgreSQL: each response is stored once, whatever happens.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod content;
mod crashes;
#[path = "../email/letters.rs"]
mod letters;
mod line;
mod operation;
mod proxy;
mod refused;
#[path = "../sheets/running.rs"]
mod running;
