//! How plug-ins read and change their stores.

use std::sync::Arc;

use formline_core::Record;
use formline_plugin_contract::scan_start;

use super::partition_stores::{PutError, StoreFailed, Stores};
use crate::state::{
    entry::{self, Entry},
    scan::Scan,
};

// === impl Stores ===

impl Stores {
    /// The value of a key, as the current event sees it.
    pub(crate) fn get(&mut self, store: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailed> {
        let now = self.now_ms;
        let found = self.look(&entry::key(store, key))?;
        let alive = found.filter(|entry| entry.is_alive(now));
        Ok(alive.map(|entry| entry.value))
    }

    pub(crate) fn put(&mut self, store: &str, key: &[u8], entry: Entry) -> Result<(), PutError> {
        let key = entry::key(store, key);
        let before = self.look(&key).map_err(|StoreFailed| PutError::Failed)?;
        let freed = before.map_or(0, |before| before.size(&key));
        let bytes = self.coverage.bytes.saturating_sub(freed) + entry.size(&key);
        if bytes > self.limit {
            return Err(PutError::Full);
        }
        self.change(key, Some(entry), bytes);
        Ok(())
    }

    pub(crate) fn delete(&mut self, store: &str, key: &[u8]) -> Result<(), StoreFailed> {
        self.remove(entry::key(store, key))
    }

    pub(super) fn remove(&mut self, key: Vec<u8>) -> Result<(), StoreFailed> {
        if let Some(before) = self.look(&key)? {
            let bytes = self.coverage.bytes.saturating_sub(before.size(&key));
            self.change(key, None, bytes);
        }
        Ok(())
    }

    /// Entries of a store whose key starts with `prefix`, in key order, after the key `after`. The
    /// returned keys do not include the store. Stops when `take` returns false for the bytes of the
    /// next entry.
    pub(crate) fn scan(
        &mut self,
        store: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut take: impl FnMut(usize) -> bool,
    ) -> Result<Vec<(Vec<u8>, Entry)>, StoreFailed> {
        let (skipped, now) = (entry::key(store, b"").len(), self.now_ms);
        let from = entry::key(store, &scan_start(prefix, after));
        let prefix = entry::key(store, prefix);
        let mut entries = Vec::new();
        let read = || {
            let file = self.file.as_ref();
            let written = file.map(|file| file.range(&from)).transpose()?;
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

    /// Starts the next event: its timestamp decides which entries have expired.
    pub(crate) fn begin_event(&mut self, record: &Record) {
        self.set_time(record.timestamp_ms);
        self.event = Some((Arc::clone(&record.partition.topic), record.offset));
    }
}
