//! The email sink between a real Kafka and a real SMTP server: messages arrive once, at most twice,
//! and none is lost.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod dead_letters;
mod outcomes;
mod pipeline;
mod records;
mod rejections;
#[path = "../sheets/running.rs"]
mod running;
