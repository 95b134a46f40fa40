//! The sheets sink between a real Kafka and the emulator: each row is written exactly once and in
//! order.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod cells;
mod emulated_google;
mod faults;
mod kafka;
mod live;
mod metrics;
mod next_spreadsheet;
mod order;
mod owners;
mod pipeline;
mod quota;
mod redis;
mod replay;
mod running;
mod service_account;
mod shared_redis;
mod spreadsheet;
mod user_changes;
