//! The HTTP service as its clients see it: a real server with real connections and a real Kafka.

#![allow(clippy::unwrap_used, clippy::panic)]

mod browsers;
mod connections;
mod documents;
mod harness;
mod idempotency;
mod limits;
mod openapi;
mod outages;
mod rejections;
mod submissions;
