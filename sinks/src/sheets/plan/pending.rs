//! Rows that wait in memory, in order. After a crash they are read from Kafka again.

use std::collections::{BTreeMap, BTreeSet};

use crate::sheets::log::row::{RowKey, SheetRow};

/// Rows by time of submission, and by time of arrival.
#[derive(Debug, Default)]
pub(crate) struct PendingRows {
    rows: BTreeMap<RowKey, PendingRow>,
    arrivals: BTreeSet<(i64, RowKey)>,
    bytes: usize,
}

#[derive(Debug)]
struct PendingRow {
    row: SheetRow,
    since_ms: i64,
}

/// At either limit the sink pauses its partitions until half of the rows are written. Rows that
/// arrive later but were submitted earlier than those written meanwhile are appended and flagged
/// late.
const MAX_ROWS: usize = 100_000;
const MAX_BYTES: usize = 64 << 20;

// === impl PendingRows ===

impl PendingRows {
    pub(crate) fn insert(&mut self, row: SheetRow, now_ms: i64) {
        self.bytes += row.size();
        self.arrivals.insert((now_ms, row.key.clone()));
        self.rows.insert(
            row.key.clone(),
            PendingRow {
                row,
                since_ms: now_ms,
            },
        );
    }

    pub(crate) fn remove(&mut self, key: &RowKey) -> Option<SheetRow> {
        let PendingRow { row, since_ms } = self.rows.remove(key)?;
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

    /// All rows, in the order of submission.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &SheetRow> {
        self.rows.values().map(|pending| &pending.row)
    }

    /// The time of the earliest submission after `time`.
    pub(crate) fn first_after(&self, time: i64) -> Option<i64> {
        let later = self.rows.range(RowKey::first_at(time.saturating_add(1))..);
        later.map(|(key, _)| key.time).next()
    }

    /// The time of the latest submission among the rows that arrived at `ms` or before.
    pub(crate) fn latest_held_since(&self, ms: i64) -> Option<i64> {
        let held = self
            .arrivals
            .iter()
            .take_while(|(since_ms, _)| *since_ms <= ms);
        held.map(|(_, key)| key.time).max()
    }
}
