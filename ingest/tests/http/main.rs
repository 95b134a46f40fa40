//! The HTTP service as its clients see it: a real server, real connections, a real Kafka.

#![allow(clippy::unwrap_used, clippy::panic)]

mod browsers;
mod connections;
mod documents;
mod harness;
mod idempotency;
mod openapi;
mod outages;
mod refusals;
mod submissions;
