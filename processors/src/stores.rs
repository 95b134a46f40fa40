//! The keyed state of one partition of a step: all its stores, in memory, rebuilt from the changelog.
//!
//! Changes are made in place and can be undone one event, one batch or one transaction at a time, until `commit` says
//! that Kafka has them.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    ops::Bound,
};

/// The stores of one partition. A key is the changelog's: length and name of the store, then the plug-in's key.
#[derive(Debug)]
pub(crate) struct Stores {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    undo: Vec<Change>,
    bytes: usize,
    limit: usize,
}

/// What a key held before a change.
#[derive(Debug)]
struct Change {
    key: Vec<u8>,
    before: Option<Vec<u8>>,
}

/// A point to return to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark(usize);

/// The stores hold as much as they may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full;

/// Bytes of keys and values of one partition. At the bound the plug-in's `put` fails with `quota-exceeded`.
const LIMIT: usize = 256 << 20;

/// What an entry costs besides its bytes.
const ENTRY: usize = 64;

// === impl Stores ===

impl Stores {
    pub(crate) fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    fn with_limit(limit: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            undo: Vec::new(),
            bytes: 0,
            limit,
        }
    }

    /// The key of the changelog for a key of a store. The length in front keeps stores apart whose names begin alike.
    pub(crate) fn key(store: &str, key: &[u8]) -> Vec<u8> {
        let length = u8::try_from(store.len()).expect("a plug-in with a longer name is refused");
        let mut full = Vec::with_capacity(1 + store.len() + key.len());
        full.push(length);
        full.extend_from_slice(store.as_bytes());
        full.extend_from_slice(key);
        full
    }

    pub(crate) fn get(&self, store: &str, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(&Self::key(store, key)).map(Vec::as_slice)
    }

    pub(crate) fn put(&mut self, store: &str, key: &[u8], value: Vec<u8>) -> Result<(), Full> {
        let key = Self::key(store, key);
        let replaced = self
            .entries
            .get(&key)
            .map_or(0, |before| size(&key, before));
        if self.bytes - replaced + size(&key, &value) > self.limit {
            return Err(Full);
        }
        let before = self.set(key.clone(), Some(value));
        self.undo.push(Change { key, before });
        Ok(())
    }

    pub(crate) fn delete(&mut self, store: &str, key: &[u8]) {
        let key = Self::key(store, key);
        if let Some(before) = self.set(key.clone(), None) {
            self.undo.push(Change {
                key,
                before: Some(before),
            });
        }
    }

    /// Entries of a store whose key begins with `prefix`, in order, behind `after`; without the store's part of the key.
    pub(crate) fn scan(
        &self,
        store: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = (&[u8], &[u8])> {
        let skipped = Self::key(store, b"").len();
        let prefix = Self::key(store, prefix);
        let after = after
            .map(|after| Self::key(store, after))
            .filter(|after| *after >= prefix);
        let from = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix.clone()),
        };
        self.entries
            .range((from, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .map(move |(key, value)| (&key[skipped..], value.as_slice()))
    }

    /// The present point.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.undo.len())
    }

    /// Undoes everything since the mark.
    pub(crate) fn roll_back(&mut self, to: Mark) {
        while self.undo.len() > to.0 {
            let change = self.undo.pop().expect("it is longer than the mark");
            self.set(change.key, change.before);
        }
    }

    /// What has changed since the last commit, each key once; none is a deletion.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let keys: BTreeSet<&[u8]> = self
            .undo
            .iter()
            .map(|change| change.key.as_slice())
            .collect();
        keys.into_iter()
            .map(|key| (key, self.entries.get(key).map(Vec::as_slice)))
    }

    /// The changes are in Kafka.
    pub(crate) fn commit(&mut self) {
        self.undo.clear();
    }

    /// Takes over a record of the changelog. The limit does not hold here: what was accepted once stays.
    pub(crate) fn restore(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.set(key.to_vec(), value.map(<[u8]>::to_vec));
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let key_length = key.len();
        let added = value.as_ref().map_or(0, |value| size(&key, value));
        let before = match value {
            Some(value) => self.entries.insert(key, value),
            None => self.entries.remove(&key),
        };
        let removed = before
            .as_ref()
            .map_or(0, |before| key_length + before.len() + ENTRY);
        self.bytes = self.bytes + added - removed;
        before
    }
}

impl Default for Stores {
    fn default() -> Self {
        Self::new()
    }
}

fn size(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + ENTRY
}

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    type Entries = Vec<(Vec<u8>, Vec<u8>)>;

    fn all(stores: &Stores, store: &str, prefix: &[u8], after: Option<&[u8]>) -> Entries {
        let found = stores.scan(store, prefix, after);
        found
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect()
    }

    fn filled() -> Stores {
        let mut stores = Stores::new();
        for key in ["a/1", "a/2", "b/1"] {
            stores.put("one", key.as_bytes(), b"v".to_vec()).unwrap();
        }
        stores.put("onea", b"/1", b"other store".to_vec()).unwrap();
        stores
    }

    #[test]
    fn a_scan_stays_within_store_and_prefix() {
        let stores = filled();
        let keys = |entries: Entries| entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(all(&stores, "one", b"a/", None)), [b"a/1", b"a/2"]);
        assert_eq!(keys(all(&stores, "one", b"a/", Some(b"a/1"))), [b"a/2"]);
        assert_eq!(keys(all(&stores, "one", b"b", Some(b"a"))), [b"b/1"]);
        assert_eq!(all(&stores, "one", b"", None).len(), 3);
        assert_eq!(all(&stores, "onea", b"", None).len(), 1);
    }

    #[test]
    fn changes_are_undone_back_to_the_mark() {
        let mut stores = filled();
        stores.commit();
        let (before, bytes) = (all(&stores, "one", b"", None), stores.bytes);
        let mark = stores.mark();
        stores.put("one", b"a/1", b"new".to_vec()).unwrap();
        stores.put("one", b"c/1", b"new".to_vec()).unwrap();
        stores.delete("one", b"b/1");
        stores.delete("one", b"not there");
        assert_ne!(all(&stores, "one", b"", None), before);
        stores.roll_back(mark);
        assert_eq!(all(&stores, "one", b"", None), before);
        assert_eq!(stores.bytes, bytes);
        assert_eq!(stores.changes().count(), 0);
    }

    #[test]
    fn the_changelog_gets_each_key_once_and_rebuilds_the_stores() {
        let mut stores = filled();
        stores.put("one", b"a/1", b"newer".to_vec()).unwrap();
        stores.delete("one", b"b/1");
        let changes: Vec<_> = stores.changes().collect();
        assert_eq!(changes.len(), 4);
        let mut rebuilt = Stores::new();
        for (key, value) in changes {
            rebuilt.restore(key, value);
        }
        assert_eq!(
            all(&rebuilt, "one", b"", None),
            all(&stores, "one", b"", None)
        );
        assert_eq!(rebuilt.bytes, stores.bytes);
        stores.commit();
        assert_eq!(stores.changes().count(), 0);
    }

    #[test]
    fn a_full_store_takes_replacements_and_nothing_new() {
        let mut stores = Stores::with_limit(200);
        stores.put("s", b"key", vec![0; 100]).unwrap();
        assert_eq!(stores.put("s", b"another", vec![0; 100]), Err(Full));
        stores.put("s", b"key", vec![1; 100]).unwrap();
        stores.delete("s", b"key");
        stores.put("s", b"another", vec![0; 100]).unwrap();
    }
}
