//! The entries of one partition, with what has changed since the file was written in memory.
//!
//! Changes can be undone one event, one batch or one transaction at a time, until `commit` says that Kafka has them. Only
//! what Kafka has goes into the file.

mod changes;
mod file;
mod host;

use std::{collections::BTreeMap, fmt, mem, path::PathBuf, sync::Arc, time::Instant};

use formline_core::Record;

use self::changes::Change;
pub(crate) use self::changes::{Logged, Mark};
use super::{
    disk::Disk,
    entry::{self, Entry},
    origin::Origin,
    scan::Scan,
};
use crate::error::Error;

/// The entries of one partition.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    /// Where the file is, or will be; without it everything stays in memory.
    path: Option<PathBuf>,
    disk: Option<Disk>,
    changed: BTreeMap<Vec<u8>, Option<Entry>>,
    /// Roughly the bytes of `changed`.
    changed_bytes: usize,
    changed_since: Option<Instant>,
    undo: Vec<Change>,
    origin: Origin,
    limit: u64,
    /// Time of the event at hand, and the newest one so far.
    now_ms: i64,
    newest_ms: i64,
    /// Where the event at hand stands: topic and offset.
    event: Option<(Arc<str>, i64)>,
    /// The entries come from the file, and the changelog has not shown yet that it is the one they were made of.
    is_unproven: bool,
    /// Everything that the changelog held was taken over, and what comes is our own.
    is_complete: bool,
    /// Why the file cannot be used any more.
    failure: Option<Error>,
}

/// The file has failed; `failure` says how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Broken;

/// Why an entry is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// The stores hold as much as they may.
    Full,
    Broken,
}

/// Bytes of stores that have no file; a trial must not cost more than the step itself.
const IN_MEMORY: u64 = 64 << 20;

// === impl Stores ===

impl Stores {
    /// Empty stores without a file, for trials.
    pub(crate) fn in_memory() -> Self {
        Self {
            limit: IN_MEMORY,
            ..Self::default()
        }
    }

    /// The stores of a partition as its file has them, empty if it has none. `limit` is in bytes.
    pub(crate) fn open(path: PathBuf, limit: u64) -> Result<Self, Error> {
        let mut stores = Self {
            limit,
            ..Self::default()
        };
        let opened = Disk::open(&path).map_err(|source| Error::state(&path, source))?;
        if let Some((disk, origin)) = opened {
            if origin.age() < file::AGE {
                stores.is_unproven = origin.generation.is_some() && origin.next > 0;
                (stores.disk, stores.origin) = (Some(disk), origin);
            } else {
                disk.delete();
            }
        }
        if stores.disk.is_none() {
            stores.origin.renew();
        }
        stores.path = Some(path);
        Ok(stores)
    }

    // === For plug-ins ===

    /// What the event at hand sees of an entry.
    pub(crate) fn get(&mut self, store: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        let now = self.now_ms;
        let found = self.look(&entry::key(store, key))?;
        let alive = found.filter(|entry| entry.is_alive(now));
        Ok(alive.map(|entry| entry.value))
    }

    pub(crate) fn put(&mut self, store: &str, key: &[u8], entry: Entry) -> Result<(), Refusal> {
        let key = entry::key(store, key);
        let before = self.look(&key).map_err(|Broken| Refusal::Broken)?;
        let freed = before.map_or(0, |before| before.size(&key));
        let bytes = self.origin.bytes.saturating_sub(freed) + entry.size(&key);
        if bytes > self.limit {
            return Err(Refusal::Full);
        }
        self.change(key, Some(entry), bytes);
        Ok(())
    }

    pub(crate) fn delete(&mut self, store: &str, key: &[u8]) -> Result<(), Broken> {
        self.remove(entry::key(store, key))
    }

    fn remove(&mut self, key: Vec<u8>) -> Result<(), Broken> {
        if let Some(before) = self.look(&key)? {
            let bytes = self.origin.bytes.saturating_sub(before.size(&key));
            self.change(key, None, bytes);
        }
        Ok(())
    }

    /// Entries of a store whose key begins with `prefix`, in order, behind `after`, without the store's part of the key;
    /// as long as `take` says yes to the size of the next one.
    pub(crate) fn scan(
        &mut self,
        store: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut take: impl FnMut(usize) -> bool,
    ) -> Result<Vec<(Vec<u8>, Entry)>, Broken> {
        let (skipped, now) = (entry::key(store, b"").len(), self.now_ms);
        let prefix = entry::key(store, prefix);
        // The smallest key behind another one has a zero more.
        let after = after.map(|after| [&entry::key(store, after), [0].as_slice()].concat());
        let from = after.filter(|after| *after > prefix);
        let from = from.unwrap_or_else(|| prefix.clone());
        let mut entries = Vec::new();
        let read = || {
            let disk = self.disk.as_ref();
            let written = disk.map(|disk| disk.range(&from)).transpose()?;
            for found in Scan::new(written, self.changed.range(from..)) {
                let (key, entry) = found?;
                if !key.starts_with(&prefix) {
                    break;
                }
                if !entry.is_alive(now) {
                    continue;
                }
                if !take(key.len() - skipped + entry.value.len()) {
                    break;
                }
                entries.push((key[skipped..].to_vec(), entry));
            }
            Ok(())
        };
        let read = read();
        self.note(read)?;
        Ok(entries)
    }

    /// The event comes next.
    pub(crate) fn begin_event(&mut self, record: &Record) {
        self.set_time(record.timestamp_ms);
        self.event = Some((Arc::clone(&record.partition.topic), record.offset));
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state file has failed")
    }
}

impl std::error::Error for Broken {}

/// Lends the stores to `place` for as long as `work` lasts.
pub(crate) fn lend<P, T>(
    stores: &mut Stores,
    place: &mut P,
    hold: impl Fn(&mut P) -> &mut Stores,
    work: impl FnOnce(&mut P) -> T,
) -> T {
    mem::swap(stores, hold(place));
    let result = work(place);
    mem::swap(stores, hold(place));
    result
}
