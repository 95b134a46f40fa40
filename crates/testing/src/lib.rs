//! The vocabulary of the integration tests: a real Apache Kafka, a real PostgreSQL, real Redis, real servers for mails and calls, real
//! processes, and
//! waiting for what must become true. Everything has a deadline, and panics with what it saw when that passes.
//! Knows nothing of Formline's crates, so that each of them can use it.

// A panic is how a test fails.
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
mod watchdog;

pub use eventually::{Condition, eventually};
pub use kafka::{Kafka, kafka};
pub use names::{free_port, unique};
pub use plugins::plugins_dir;
pub use postgres::Postgres;
pub use process::Process;
pub use receiver::{Call, Receiver, Reply};
pub use redis::{Redis, RedisSet};
pub use smtp::Smtp;

use std::path::Path;

/// The root of the repository.
fn repository() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates
        .and_then(Path::parent)
        .expect("this crate is crates/testing")
}
