//! The sheets sink between a real Kafka and the real emulator: rows arrive once and in order, whatever happens.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod account;
mod cells;
mod faults;
mod further;
mod kafka;
mod line;
mod live;
mod metrics;
mod order;
mod owners;
mod people;
mod quota;
mod redis;
mod redis_neighbours;
mod replay;
mod running;
mod spreadsheet;
