//! Measures Formline beside the least that could do the same work, on the same machine and the same Kafka.
//!
//! It imports core, and processors for what the call of a plug-in costs. What it compares with (`bare`) stands on
//! rdkafka, axum and sqlx alone, on purpose.

mod arguments;
pub mod bare;
mod bench;
mod child;
mod cpu;
mod destination;
mod generator;
mod kafka;
#[path = "../guest/src/label.rs"]
mod label;
mod latency;
mod machine;
mod postgres;
mod progress;
mod table;

pub use self::{
    arguments::{Arguments, Bench, Command},
    bench::run,
};
