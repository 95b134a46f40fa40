//! What a step knows of one partition: the stores of its plug-in, and the submissions that were there already.
//!
//! Kafka has all of it, in the changelog and in the form's topic. A file keeps a copy, so that a start reads only what has
//! come since.

mod disk;
mod entry;
mod origin;
mod scan;
mod schema;
mod stores;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    disk::sweep,
    entry::Entry,
    schema::{Moving, Schema},
    stores::{Broken, Logged, Mark, Refusal, Stores, lend},
};
