//! One batch of one partition while a plug-in processes it, and its results.
//!
//! Independent of WebAssembly, and of how records are read and published.

mod cursor;
mod event;
mod finished;
mod output;

pub(crate) use self::{
    cursor::{Batch, BatchError, BatchLimits},
    event::{DeadLetterReason, Event, EventOutcome, Source},
    finished::Finished,
    output::Output,
};
