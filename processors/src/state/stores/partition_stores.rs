//! The entries of one partition: where they are, and how far they are committed.

use std::{
    collections::BTreeMap,
    fmt, mem,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::undo::UndoEntry;
use crate::{
    error::Error,
    state::{coverage::Coverage, entry::Entry, file::StateFile},
};

/// The entries of one partition.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    /// The path of the file, whether it exists or not. Without a path everything stays in memory.
    pub(super) path: Option<PathBuf>,
    pub(super) file: Option<StateFile>,
    /// Changes that the file does not contain yet; an entry of none is a deletion.
    pub(super) changed: BTreeMap<Vec<u8>, Option<Entry>>,
    /// Bytes of `changed`, approximately.
    pub(super) changed_bytes: usize,
    pub(super) changed_since: Option<Instant>,
    pub(super) undo: Vec<UndoEntry>,
    pub(super) coverage: Coverage,
    /// Bytes that all entries may have together.
    pub(super) limit: u64,
    /// The time of the current event.
    pub(super) now_ms: i64,
    /// The newest time of all events.
    pub(super) newest_ms: i64,
    /// Topic and offset of the current event.
    pub(super) event: Option<(Arc<str>, i64)>,
    /// Whether the entries come from the file, and the changelog has not yet proven to be the one
    /// from which the file was built.
    pub(super) is_unproven: bool,
    /// Whether the entries cover the whole changelog, and only this process adds to it.
    pub(super) is_complete: bool,
    /// Why the file can no longer be used.
    pub(super) failure: Option<Error>,
}

/// The state file has failed. [`Stores::take_failure`] returns the cause.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct StoreFailed;

/// Why an entry is not stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PutError {
    /// The stores have reached their limit.
    Full,
    /// See [`StoreFailed`].
    Failed,
}

/// The limit, in bytes, of stores without a file. A trial must not cost more than the step itself.
const IN_MEMORY: u64 = 64 << 20;

/// The maximum age of a file. Kafka removes deletion markers after a day (`delete.retention.ms`);
/// an older file could contain entries that were deleted in the meantime. The owner of the
/// partition renews a file of half that age. The other half is for a worker that was suspended: it
/// may renew the file once before it detects that it has lost the partition.
pub(super) const MAX_AGE: Duration = Duration::from_secs(12 * 60 * 60);

// === impl Stores ===

impl Stores {
    /// Empty stores without a file, for trials.
    pub(crate) fn in_memory() -> Self {
        Self {
            limit: IN_MEMORY,
            ..Self::default()
        }
    }

    /// The stores of a partition with the content of its file; empty without a file. `limit` is in
    /// bytes.
    pub(crate) fn open(path: PathBuf, limit: u64) -> Result<Self, Error> {
        let mut stores = Self {
            limit,
            ..Self::default()
        };
        let opened = StateFile::open(&path).map_err(|source| Error::state(&path, source))?;
        if let Some((file, coverage)) = opened {
            if coverage.age() < MAX_AGE {
                stores.is_unproven = coverage.generation.is_some() && coverage.next > 0;
                (stores.file, stores.coverage) = (Some(file), coverage);
            } else {
                file.delete();
            }
        }
        if stores.file.is_none() {
            stores.coverage.renew();
        }
        stores.path = Some(path);
        Ok(stores)
    }
}

impl fmt::Display for StoreFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state file has failed")
    }
}

impl std::error::Error for StoreFailed {}

/// Swaps the stores into `holder` while `work` runs.
pub(crate) fn lend<H, T>(
    stores: &mut Stores,
    holder: &mut H,
    slot: impl Fn(&mut H) -> &mut Stores,
    work: impl FnOnce(&mut H) -> T,
) -> T {
    mem::swap(stores, slot(holder));
    let result = work(holder);
    mem::swap(stores, slot(holder));
    result
}
