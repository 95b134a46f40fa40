//! Stage 1: takes submissions over HTTP, checks them, and answers once Kafka has them.
//!
//! Above the connection (`connections`, `pulse`) lies one service (`service`) that does what every request needs, then axum's
//! router (`routes`), and behind it one `endpoint` per form.

mod answer;
mod body;
mod coerce;
mod connections;
mod definitions;
mod endpoint;
mod fields;
mod keys;
mod limits;
mod lingering;
mod media;
mod metrics;
mod negotiation;
mod numbers;
mod openapi;
mod origins;
mod page;
mod problem;
mod pulse;
mod rate;
mod request_id;
mod routes;
mod sanitize;
mod sender;
mod server;
mod service;
mod trace;
mod window;

pub use self::{
    limits::Limits,
    server::{Error, Options, serve},
};
