//! Servers and processes for integration tests: a real Apache Kafka, PostgreSQL and Redis, servers
//! that receive e-mails and webhook calls, child processes, and waiting for conditions. Everything
//! has a deadline, and panics with the last observation when it passes. Does not depend on the
//! other crates of the workspace, so that each of them can use it.

// A test fails by a panic.
#![allow(clippy::panic)]

mod eventually;
mod kafka;
mod names;
mod plugins;
mod postgres;
mod process;
mod receiver;
mod redis;
mod smtp;
mod tools;
mod watchdog;

pub use eventually::{Condition, eventually};
pub use kafka::{Kafka, kafka};
pub use names::{free_port, unique};
pub use plugins::{guests_dir, plugins_dir};
pub use postgres::Postgres;
pub use process::Process;
pub use receiver::{Call, Receiver, Reply};
pub use redis::{Redis, RedisSet};
pub use smtp::Smtp;
