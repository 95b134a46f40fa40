//! An HTTP call for each record: Standard Webhooks 1.0.0.
//!
//! A record whose call fails is deferred (`per_record::attempt`), so that it holds up no other.
//! Whether a failed call has reached the receiver is unknown, so a receiver can be called twice; it
//! should deduplicate on `webhook-id`.
//!
//! Not implemented: asymmetric signatures (`v1a`), ordered calls, endpoints that users register
//! themselves.

mod address;
mod endpoint;
mod handler;
mod kind;
mod signature;

pub(crate) use self::kind::{open, register_metrics};
