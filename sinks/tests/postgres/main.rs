//! The postgres sink between a real Kafka and a real PostgreSQL: each response is stored once,
//! whatever happens.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod content;
mod crashes;
#[path = "../email/dead_letters.rs"]
mod dead_letters;
mod operation;
mod pipeline;
mod proxy;
mod rejected;
#[path = "../sheets/running.rs"]
mod running;
