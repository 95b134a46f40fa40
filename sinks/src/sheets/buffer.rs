//! Rows that wait for their turn, in memory and in order. It is rebuilt from Kafka after a crash.

use std::collections::{BTreeMap, BTreeSet};

use super::row::{Key, Row};

/// Rows by time of submission, and by how long they wait.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    rows: BTreeMap<Key, Waiting>,
    arrivals: BTreeSet<(i64, Key)>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    row: Row,
    since_ms: i64,
}

/// At these bounds the sink stops reading its partitions until half of the rows are written. Rows that come later
/// but were submitted earlier than those written meanwhile are appended and flagged late.
const MAX_ROWS: usize = 100_000;
const MAX_BYTES: usize = 64 << 20;

// === impl Buffer ===

impl Buffer {
    pub(crate) fn insert(&mut self, row: Row, now_ms: i64) {
        self.bytes += row.size();
        self.arrivals.insert((now_ms, row.key.clone()));
        self.rows.insert(
            row.key.clone(),
            Waiting {
                row,
                since_ms: now_ms,
            },
        );
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<Row> {
        let Waiting { row, since_ms } = self.rows.remove(key)?;
        self.arrivals.remove(&(since_ms, key.clone()));
        self.bytes -= row.size();
        Some(row)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= MAX_ROWS || self.bytes >= MAX_BYTES
    }

    pub(crate) fn is_half_empty(&self) -> bool {
        self.rows.len() <= MAX_ROWS / 2 && self.bytes <= MAX_BYTES / 2
    }

    /// All rows, the earliest submitted first.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().map(|waiting| &waiting.row)
    }

    /// The time of the earliest submission after `time`.
    pub(crate) fn first_after(&self, time: i64) -> Option<i64> {
        let later = self.rows.range(Key::first_at(time.saturating_add(1))..);
        later.map(|(key, _)| key.time).next()
    }

    /// The latest submission among those that came at `ms` or before.
    pub(crate) fn latest_held_since(&self, ms: i64) -> Option<i64> {
        let held = self
            .arrivals
            .iter()
            .take_while(|(since_ms, _)| *since_ms <= ms);
        held.map(|(_, key)| key.time).max()
    }
}
