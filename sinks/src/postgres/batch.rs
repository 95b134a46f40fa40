//! What waits to be stored, and how much of it one transaction takes.

use std::collections::{BTreeMap, HashSet, VecDeque};

use formline_core::{Record, record::Partition};

use super::row::Row;
use crate::parking::Letter;

/// Records in the order in which they were read. At its bounds reading waits.
#[derive(Debug)]
pub(crate) struct Buffer {
    entries: VecDeque<Entry>,
    bytes: usize,
    batch_rows: usize,
}

#[derive(Debug)]
enum Entry {
    Row(Row),
    /// What is no row.
    Letter(Letter),
    /// A replay for another group.
    Pass(Record),
}

/// The contents of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) rows: Vec<Row>,
    /// To be parked before the offsets move.
    pub(crate) letters: Vec<Letter>,
    /// Behind the last record of each partition.
    pub(crate) next: BTreeMap<Partition, i64>,
}

/// Most bytes of one transaction, and of what waits behind it. One record may be larger than what is left.
const BATCH_BYTES: usize = 8 << 20;

// === impl Buffer ===

impl Buffer {
    pub(crate) fn new(batch_rows: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            batch_rows,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < 2 * self.batch_rows && self.bytes < BATCH_BYTES
    }

    pub(crate) fn add(&mut self, record: Record, is_for_us: bool) {
        self.bytes += record.size();
        self.entries.push_back(if !is_for_us {
            Entry::Pass(record)
        } else {
            match Row::read(record) {
                Ok(row) => Entry::Row(row),
                Err((record, why)) => Entry::Letter(Letter {
                    record,
                    reason: "malformed".into(),
                    detail: why.to_string(),
                    attempts: 1,
                }),
            }
        });
    }

    /// The next batch. It never holds two rows of one id and source: whether the second is a repetition or, after a
    /// day, another submission can be told only once the first is stored.
    pub(crate) fn take(&mut self) -> Batch {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        let mut known = HashSet::new();
        while let Some(entry) = self.entries.front() {
            let size = entry.record().size();
            let is_full = batch.rows.len() == self.batch_rows || bytes + size > BATCH_BYTES;
            if is_full && !batch.next.is_empty() {
                break;
            }
            if let Entry::Row(row) = entry
                && !known.insert((row.id.clone(), row.source().to_owned()))
            {
                break;
            }
            bytes += size;
            let entry = self.entries.pop_front().expect("it is the front");
            batch.add(entry);
        }
        self.bytes -= bytes;
        batch
    }
}

// === impl Batch ===

impl Batch {
    fn add(&mut self, entry: Entry) {
        let record = entry.record();
        (self.next).insert(record.partition.clone(), record.offset + 1);
        match entry {
            Entry::Row(row) => self.rows.push(row),
            Entry::Letter(letter) => self.letters.push(letter),
            Entry::Pass(_) => {}
        }
    }
}

// === impl Entry ===

impl Entry {
    fn record(&self) -> &Record {
        match self {
            Self::Row(row) => &row.record,
            Self::Letter(letter) => &letter.record,
            Self::Pass(record) => record,
        }
    }
}

#[cfg(test)]
mod tests {
    use formline_core::event::header;

    use super::*;

    fn add(buffer: &mut Buffer, number: i32, offset: i64, id: &str, value: &[u8]) {
        let partition = Partition {
            topic: "topic".into(),
            number,
        };
        let headers = [(header::ID, id.as_bytes())];
        let record = Record::new(partition, offset, 0, None, Some(value), &headers);
        buffer.add(record, id != "other");
    }

    fn taken(buffer: &mut Buffer) -> (Vec<String>, Vec<i64>) {
        let batch = buffer.take();
        let ids = batch.rows.into_iter().map(|row| row.id).collect();
        (ids, batch.next.into_values().collect())
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_batch_ends_at_its_bound_and_before_an_id_that_it_holds() {
        let mut buffer = Buffer::new(3);
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
    fn what_is_no_row_moves_the_offset_all_the_same() {
        let mut buffer = Buffer::new(3);
        add(&mut buffer, 0, 1, "other", b"1");
        add(&mut buffer, 1, 1, "broken", b"\xff");
        let batch = buffer.take();
        assert!(batch.rows.is_empty() && batch.next.into_values().eq([2, 2]));
        assert_eq!(batch.letters.len(), 1);
    }

    #[test]
    fn large_records_wait_for_the_next_batch_and_the_largest_goes_alone() {
        let mut buffer = Buffer::new(100);
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
