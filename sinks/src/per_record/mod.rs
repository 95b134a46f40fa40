//! Sinks that deliver records one by one, such as e-mails and webhook calls, and keep a journal of
//! what happened to each, because the effect cannot be checked at the destination.
//!
//! A kind of sink is a [`handler::RecordHandler`]; [`tracker`] says in which order things are
//! written, and what a crash between two of them costs.

pub(crate) mod attempt;
pub(crate) mod audit;
pub(crate) mod entry;
pub(crate) mod handler;
mod history;
mod journal;
mod partition_queue;
pub(crate) mod session;
pub(crate) mod tracker;
