//! The state of a step for one partition: the stores of its plug-in, and the keyed submissions that
//! it has already received.
//!
//! Kafka holds all of it, in the changelog and in the form's topic. A local file keeps a copy, so
//! that a start reads only what was written since.

mod coverage;
mod entry;
mod file;
mod scan;
mod schema;
mod stores;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    entry::Entry,
    file::delete_unused,
    schema::{SchemaMove, StoreSchema},
    stores::{ChangelogEntry, PutError, Savepoint, StoreFailed, Stores, lend},
};
