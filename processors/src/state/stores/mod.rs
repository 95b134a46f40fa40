//! The entries of one partition, with the changes since the last write of the file in memory.
//!
//! Changes can be rolled back by event, by batch or by transaction, until `commit` reports that
//! Kafka has them. Only what Kafka has is written to the file.

mod access;
mod changes;
mod host_entries;
mod partition_stores;
mod persistence;
mod undo;

pub(crate) use self::{
    partition_stores::{PutError, StoreFailed, Stores, lend},
    undo::{ChangelogEntry, Savepoint},
};
