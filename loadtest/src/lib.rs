//! The benchmark: measures Formline and a minimal program that does the same work (`bare`), on the
//! same machine and the same Kafka.
//!
//! It imports core, and processors to measure the call of a plug-in. The bare programs only use
//! rdkafka, axum and sqlx, so that a defect of core cannot slow down both sides.

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
