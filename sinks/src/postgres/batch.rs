//! Records that wait to be stored, and the batches that one transaction stores.

use std::collections::{BTreeMap, HashSet, VecDeque};

use formline_core::{Record, kafka::record::Partition};

use super::row::ResponseRow;
use crate::engine::dead_letter_queue::DeadLetter;

/// Records in the order in which they were read. At its limits, reading waits.
#[derive(Debug)]
pub(crate) struct RowBuffer {
    items: VecDeque<Item>,
    bytes: usize,
    batch_rows: usize,
}

#[derive(Debug)]
enum Item {
    Row(ResponseRow),
    /// A record that is not a row.
    Letter(DeadLetter),
    /// A replay for another group.
    Skipped(Record),
}

/// The contents of one transaction.
#[derive(Debug, Default)]
pub(crate) struct RowBatch {
    pub(crate) rows: Vec<ResponseRow>,
    /// Dead letters, to be written before the offsets move.
    pub(crate) letters: Vec<DeadLetter>,
    /// The offset behind the last record of each partition.
    pub(crate) next: BTreeMap<Partition, i64>,
}

/// Limit of bytes of one transaction, and of the records that wait behind it. A single record may
/// exceed it.
const BATCH_BYTES: usize = 8 << 20;

// === impl RowBuffer ===

impl RowBuffer {
    pub(crate) fn new(batch_rows: usize) -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            batch_rows,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.items.len() < 2 * self.batch_rows && self.bytes < BATCH_BYTES
    }

    pub(crate) fn add(&mut self, record: Record, is_for_us: bool) {
        self.bytes += record.size();
        self.items.push_back(if !is_for_us {
            Item::Skipped(record)
        } else {
            match ResponseRow::read(record) {
                Ok(row) => Item::Row(row),
                Err((record, malformed)) => Item::Letter(DeadLetter {
                    record,
                    reason: "malformed".into(),
                    detail: malformed.to_string(),
                    attempts: 1,
                }),
            }
        });
    }

    /// Takes the next batch. It never contains two rows of one id and source: whether the second is
    /// a duplicate or, after a day, another submission is known only once the first is stored.
    pub(crate) fn take(&mut self) -> RowBatch {
        let (mut batch, mut bytes) = (RowBatch::default(), 0);
        let mut known = HashSet::new();
        while let Some(item) = self.items.front() {
            let size = item.record().size();
            let is_full = batch.rows.len() == self.batch_rows || bytes + size > BATCH_BYTES;
            if is_full && !batch.next.is_empty() {
                break;
            }
            if let Item::Row(row) = item
                && !known.insert((row.id.clone(), row.source().to_owned()))
            {
                break;
            }
            bytes += size;
            let item = self.items.pop_front().expect("the front was seen above");
            batch.add(item);
        }
        self.bytes -= bytes;
        batch
    }
}

// === impl RowBatch ===

impl RowBatch {
    fn add(&mut self, item: Item) {
        let record = item.record();
        (self.next).insert(record.partition.clone(), record.offset + 1);
        match item {
            Item::Row(row) => self.rows.push(row),
            Item::Letter(letter) => self.letters.push(letter),
            Item::Skipped(_) => {}
        }
    }
}

// === impl Item ===

impl Item {
    fn record(&self) -> &Record {
        match self {
            Self::Row(row) => &row.record,
            Self::Letter(letter) => &letter.record,
            Self::Skipped(record) => record,
        }
    }
}

#[cfg(test)]
mod tests {
    use formline_core::event::header;

    use super::*;

    fn add(buffer: &mut RowBuffer, number: i32, offset: i64, id: &str, value: &[u8]) {
        let partition = Partition {
            topic: "topic".into(),
            number,
        };
        let headers = [(header::ID, id.as_bytes())];
        let record = Record::new(partition, offset, 0, None, Some(value), &headers);
        buffer.add(record, id != "other");
    }

    fn taken(buffer: &mut RowBuffer) -> (Vec<String>, Vec<i64>) {
        let batch = buffer.take();
        let ids = batch.rows.into_iter().map(|row| row.id).collect();
        (ids, batch.next.into_values().collect())
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_batch_ends_at_its_limit_and_before_an_id_that_it_contains() {
        let mut buffer = RowBuffer::new(3);
        for (number, offset, id) in [(0, 5, "a"), (1, 8, "b"), (0, 6, "c"), (0, 7, "d")] {
            add(&mut buffer, number, offset, id, b"1");
        }
        assert_eq!(taken(&mut buffer), (ids(&["a", "b", "c"]), vec![7, 9]));
        add(&mut buffer, 1, 9, "d", b"1");
        assert_eq!(taken(&mut buffer), (ids(&["d"]), vec![8]));
        assert_eq!(taken(&mut buffer), (ids(&["d"]), vec![10]));
        assert!(buffer.is_empty() && buffer.has_room());
    }

    #[test]
    fn records_that_are_not_rows_move_the_offset() {
        let mut buffer = RowBuffer::new(3);
        add(&mut buffer, 0, 1, "other", b"1");
        add(&mut buffer, 1, 1, "broken", b"\xff");
        let batch = buffer.take();
        assert!(batch.rows.is_empty() && batch.next.into_values().eq([2, 2]));
        assert_eq!(batch.letters.len(), 1);
    }

    #[test]
    fn large_records_wait_for_the_next_batch_and_the_largest_is_stored_alone() {
        let mut buffer = RowBuffer::new(100);
        for (offset, id, size) in [(0, "a", 10 << 20), (1, "b", 3 << 20), (2, "c", 6 << 20)] {
            add(&mut buffer, 0, offset, id, &vec![b'1'; size]);
            assert!(!buffer.has_room());
        }
        for id in ["a", "b", "c"] {
            assert_eq!(taken(&mut buffer).0, ids(&[id]));
        }
        assert!(buffer.has_room());
    }
}
