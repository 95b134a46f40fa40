//! Rows to Google Sheets: exactly one row per submission, in the order of submission.
//!
//! The sheet is the transaction log: rows and the checkpoint that says how far they go are one
//! atomic write (`log`). Kafka is the source of truth: after a crash, the checkpoint tells where to
//! resume reading. `plan` decides which rows are written when, `tab_writer` resolves writes whose
//! outcome is unknown, and `watermark` tells up to which time no earlier submission can arrive.
//!
//! Rows are keyed by form, so a tab for one form has one owner. A tab for several forms may have
//! several, one per process: each row is still written once, but rows of one owner that follow a
//! later row of another are flagged late.

mod api;
mod audit;
mod buffer;
mod flush;
mod kind;
mod log;
mod metrics;
mod plan;
#[cfg(test)]
mod simulation;
mod sink;
mod tab_writer;
mod watermark;

pub(crate) use self::{flush::flush, metrics::register_metrics, sink::open};
