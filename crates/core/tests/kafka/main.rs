//! The behaviour of Kafka that Formline relies on, tested with a real broker.
#![allow(clippy::unwrap_used, clippy::panic)]

mod consumers;
mod producers;
mod readers;
mod support;
mod topics;
mod transactions;
