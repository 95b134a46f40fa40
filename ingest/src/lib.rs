//! Stage 1: accepts submissions over HTTP, validates them, and responds once Kafka has acknowledged
//! them.
//!
//! From the outside in: `http` owns connections and what every request needs, `router` maps paths
//! to handlers, and one `endpoint` per form runs a submission through `submission`. Errors are
//! `problem` details; `page` renders forms as HTML.

mod digest;
mod endpoint;
mod html;
mod http;
mod limits;
mod media_type;
mod metrics;
mod openapi;
mod page;
mod problem;
mod request_id;
mod router;
mod server;
mod submission;

pub use self::{
    limits::Limits,
    metrics::register_metrics,
    server::{Error, Options, serve},
};
