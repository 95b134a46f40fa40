//! Iterates over the entries in order: those of the file, merged with the changes that it does not
//! contain yet.

use std::{cmp::Ordering, collections::btree_map, iter::Peekable};

use super::{entry::Entry, file::FileRange};

/// A key and its current entry; none if the entry is deleted.
type ScanItem = Result<(Vec<u8>, Option<Entry>), redb::Error>;

/// Entries in key order.
pub(super) struct Scan<'a> {
    written: Option<Peekable<FileRange>>,
    changed: Peekable<btree_map::Range<'a, Vec<u8>, Option<Entry>>>,
}

// === impl Scan ===

impl<'a> Scan<'a> {
    /// Both ranges must start at the same key.
    pub(super) fn new(
        written: Option<FileRange>,
        changed: btree_map::Range<'a, Vec<u8>, Option<Entry>>,
    ) -> Self {
        Self {
            written: written.map(Iterator::peekable),
            changed: changed.peekable(),
        }
    }

    fn step(&mut self) -> Option<ScanItem> {
        let next_written = self.written.as_mut().and_then(Peekable::peek);
        let order = match (next_written, self.changed.peek()) {
            (None, None) => return None,
            (Some(_), None) | (Some(Err(_)), _) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(Ok((written, _))), Some((changed, _))) => written.cmp(changed),
        };
        let written = match order {
            Ordering::Greater => None,
            Ordering::Less | Ordering::Equal => self.written.as_mut().and_then(Iterator::next),
        };
        if order == Ordering::Less {
            return written.map(|found| found.map(|(key, entry)| (key, Some(entry))));
        }
        let (key, entry) = self.changed.next()?;
        Some(Ok((key.clone(), entry.clone())))
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Vec<u8>, Entry), redb::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step()? {
                Ok((key, Some(entry))) => return Some(Ok((key, entry))),
                Ok((_, None)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
