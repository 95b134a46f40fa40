//! The HTTP layer, which does not depend on forms: connections, limits per request, and the
//! conventions of headers.

pub(crate) mod body;
pub(crate) mod connections;
pub(crate) mod cors;
pub(crate) mod negotiation;
pub(crate) mod rate;
pub(crate) mod service;
pub(crate) mod trace;

mod activity;
mod lingering_close;
