//! The HTTP API: parses a request, counts it against the quota, runs it on the store, and responds.
//! The meaning of requests is implemented in `batch`, `values` and the modules below them.

mod admin;
mod input;
mod metadata;
mod routes;
mod spreadsheets;
mod state;
mod values;

pub(crate) use self::{routes::routes, state::Api};
