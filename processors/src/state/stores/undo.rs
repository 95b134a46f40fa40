//! What is needed to roll a change back, and to write it to the changelog.

use std::sync::Arc;

use formline_core::event::provenance::Provenance;

use crate::state::entry::Entry;

/// The state of a key before a change.
#[derive(Debug)]
pub(super) struct UndoEntry {
    pub(super) key: Vec<u8>,
    /// None if the file contains the entry before the change.
    pub(super) before: Option<Option<Entry>>,
    pub(super) bytes_before: u64,
    /// The topic and offset of the event that caused the change; none for the host's own changes.
    pub(super) cause: Option<(Arc<str>, i64)>,
}

/// A change as the changelog contains it.
#[derive(Debug)]
pub(crate) struct ChangelogEntry<'a> {
    pub(crate) key: &'a [u8],
    /// None for a deletion.
    pub(crate) entry: Option<&'a Entry>,
    /// The events that caused it, by topic.
    pub(crate) causes: Vec<Provenance>,
}

/// A point to which changes can be rolled back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Savepoint(pub(super) usize);

// === impl Savepoint ===

impl Savepoint {
    /// The beginning of the transaction.
    pub(crate) const START: Self = Self(0);
}
