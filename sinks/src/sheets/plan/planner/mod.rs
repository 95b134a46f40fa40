//! Decides which rows are written, when, and in which order. It does no I/O and reads no clock, so
//! that a simulation can test it under every kind of failure.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use formline_core::kafka::record::Partition;

use super::pending::PendingRows;
use crate::sheets::log::{
    batch::{BatchRow, Predecessor, SheetBatch},
    checkpoint::{
        Checkpoint, DonePositions, FULL_CELLS, KnownCheckpoint, MAX_CHECKPOINT_BYTES,
        MAX_COLUMN_BYTES,
    },
    headings,
    offsets::DoneOffsets,
    row::{Cell, RowKey, SheetRow},
};

/// The state of a tab from reading its checkpoint until another writer changes it.
#[derive(Debug)]
pub(crate) struct Planner {
    known: KnownCheckpoint,
    limits: Limits,
    /// The spreadsheet in which the sink continues when this one is full.
    next_spreadsheet: Option<String>,
    /// Google has reported that the spreadsheet is full.
    is_full: bool,
    pending: PendingRows,
    /// What need not be read again: the positions of `known`, and the offsets since then that have
    /// no row.
    done: DonePositions,
    /// The next offset to read of each partition.
    next: HashMap<Partition, i64>,
    /// All rows that were submitted until then have arrived, in microseconds since 1970.
    watermark: i64,
    /// The pending rows have reached their limit, and are written until half of them are left.
    is_draining: bool,
    /// Records without a row were skipped since the last checkpoint.
    has_skipped: bool,
    /// The most rows of the next batch. A rejection halves it, a success doubles it.
    max_rows: usize,
    /// A row that was rejected alone, and why. A blank row is written next: if the sheet accepts
    /// that, this row seems to be at fault.
    suspect: Option<(SheetRow, String)>,
    /// A suspect after the sheet has accepted a blank row. It is tried once more, because a user
    /// may have repaired the sheet in between.
    retried: Option<RowKey>,
    /// How many rows in a row were found to be at fault.
    consecutive_rejections: usize,
    rejected: Vec<RejectedRow>,
}

/// Limits that the operator sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most rows of a batch.
    pub(crate) rows: usize,
    /// The longest time for which a row is held back.
    pub(crate) hold_back_ms: i64,
}

/// A row that must be dead-lettered. It is done once `skip` is called for it.
#[derive(Debug)]
pub(crate) struct RejectedRow {
    pub(crate) row: SheetRow,
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

/// Google recommends at most 2 MB for a request, and the JSON around the values takes the rest.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// After this many rows at fault one after another, the sheet itself must be at fault although it
/// accepted blank rows.
const MAX_CONSECUTIVE_REJECTIONS: usize = 2;

/// A digest of a heading in the checkpoint, with its comma.
const DIGEST_BYTES: usize = 6;

/// Part of Google's message about a full spreadsheet.
const FULL: &str = "10000000 cells";

// === impl Planner ===

impl Planner {
    pub(crate) fn new(known: KnownCheckpoint, limits: Limits) -> Self {
        let done = known.checkpoint.positions.clone();
        Self {
            known,
            limits,
            next_spreadsheet: None,
            is_full: false,
            pending: PendingRows::default(),
            done,
            next: HashMap::new(),
            watermark: i64::MIN,
            is_draining: false,
            has_skipped: false,
            max_rows: limits.rows,
            suspect: None,
            retried: None,
            consecutive_rejections: 0,
            rejected: Vec::new(),
        }
    }

    /// Sets the spreadsheet in which the sink continues after it has closed the tab of a full one.
    pub(crate) fn with_next_spreadsheet(mut self, next: Option<String>) -> Self {
        self.next_spreadsheet = next;
        self
    }

    /// Sets how many rows in a row were found to be at fault before.
    pub(crate) fn with_consecutive_rejections(mut self, rows: usize) -> Self {
        self.consecutive_rejections = rows;
        self
    }

    pub(crate) fn consecutive_rejections(&self) -> usize {
        self.consecutive_rejections
    }

    pub(crate) fn known(&self) -> &KnownCheckpoint {
        &self.known
    }

    /// The next offset to read of a partition. `None` if the sheet knows nothing of the partition.
    pub(crate) fn next(&self, partition: &Partition) -> Option<i64> {
        let low = || self.done.get(partition).map(DoneOffsets::low);
        self.next.get(partition).copied().or_else(low)
    }

    /// Whether the tab is closed. Pending rows then belong to the next spreadsheet.
    pub(crate) fn is_closed(&self) -> bool {
        self.known.checkpoint.continues_in.is_some()
    }

    /// Whether the spreadsheet will soon accept no rows, or accepts none already.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.is_full || self.known.cells >= FULL_CELLS
    }

    /// Whether the tab has no version left for another row. As with a full one, the sink can only
    /// continue in another spreadsheet.
    pub(crate) fn is_exhausted(&self) -> bool {
        !self.is_closed() && self.known.next_id().is_none()
    }

    /// Rows that are neither written nor in a batch.
    pub(crate) fn buffered(&self) -> usize {
        self.pending.len() + usize::from(self.suspect.is_some())
    }

    /// Whether reading should pause until there is room again.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Records that an offset was read, and returns whether its record is still to be written.
    /// Offsets that Kafka has skipped (control records, aborted transactions) are done.
    pub(crate) fn read(&mut self, partition: &Partition, offset: i64) -> bool {
        let next = self.next(partition).unwrap_or(offset);
        if offset < next {
            return false;
        }
        let done = self.done.of(partition, next);
        done.add_skipped(next, offset);
        self.next.insert(partition.clone(), offset + 1);
        !done.contains(offset)
    }

    /// Adds a row that is to be written.
    pub(crate) fn add(&mut self, row: SheetRow, now_ms: i64) {
        self.pending.insert(row, now_ms);
        self.is_draining |= self.pending.is_full();
    }

    /// Records that a record has no row, because it was dead-lettered or is for another group.
    pub(crate) fn skip(&mut self, partition: &Partition, offset: i64) {
        self.done
            .of(partition, offset)
            .add_skipped(offset, offset + 1);
        self.has_skipped = true;
    }

    /// Adds what another process has read: those of these offsets that do not wait in Redis are
    /// done.
    pub(crate) fn add_read_elsewhere(
        &mut self,
        partition: &Partition,
        read: Range<i64>,
        waiting: &BTreeSet<i64>,
    ) {
        self.done.add_read_elsewhere(partition, read, waiting);
    }

    /// Records that every row that was submitted until `time` (microseconds since 1970) has been
    /// added.
    pub(crate) fn advance_watermark(&mut self, time: i64) {
        self.watermark = self.watermark.max(time);
    }

    /// The time of the earliest submission that cannot be written in order yet.
    pub(crate) fn earliest_waiting(&self) -> Option<i64> {
        self.pending.first_after(self.watermark)
    }

    /// The next write, if one is due. It takes its rows out of the pending ones.
    pub(crate) fn next_batch(&mut self, now_ms: i64) -> Option<SheetBatch> {
        if self.is_closed() {
            return None;
        }
        if (self.is_nearly_full() || self.is_exhausted()) && self.next_spreadsheet.is_some() {
            return self.close(now_ms);
        }
        self.known.next_id()?;
        if self.suspect.is_some() {
            return self.build(Vec::new(), now_ms);
        }
        if let Some(time) = self
            .pending
            .latest_held_since(now_ms - self.limits.hold_back_ms)
        {
            self.advance_watermark(time);
        }
        let rows = self.take(&self.due_rows());
        if rows.is_empty() {
            let only_skipped = self.has_skipped && self.pending.is_empty();
            return if only_skipped {
                self.build(rows, now_ms)
            } else {
                None
            };
        }
        let batch = self.build(rows, now_ms)?;
        if batch.checkpoint_json.len() <= MAX_CHECKPOINT_BYTES {
            return Some(batch);
        }
        // The checkpoint would have too many gaps. Writing the lowest offsets adds none.
        self.put_back(batch.rows, now_ms);
        let rows = self.take(&self.lowest_rows());
        self.build(rows, now_ms)
    }

    /// Records that a batch is in the sheet, and returns its rows.
    pub(crate) fn written(&mut self, batch: SheetBatch, read_ms: i64) -> Vec<BatchRow> {
        let (known, rows) = batch.into_known(read_ms);
        self.known = known;
        for BatchRow { row, .. } in &rows {
            self.done
                .of(&row.key.partition, row.key.offset)
                .add_row(row.key.offset);
        }
        if let Some((row, _)) = self.suspect.take() {
            self.retried = Some(row.key.clone());
            self.max_rows = 1;
            self.pending.insert(row, read_ms);
        } else if !rows.is_empty() {
            (self.consecutive_rejections, self.retried) = (0, None);
            self.max_rows = (self.max_rows * 2).min(self.limits.rows);
        }
        self.is_draining &= !self.pending.is_half_empty();
        rows
    }

    /// Records that Google has rejected a batch. Returns the reason if smaller batches would not
    /// help.
    pub(crate) fn rejected(
        &mut self,
        batch: SheetBatch,
        why: String,
        now_ms: i64,
    ) -> Option<String> {
        let mut rows = batch.rows;
        self.has_skipped = true;
        self.is_full = why.contains(FULL);
        let is_hopeless = self.is_full
            || rows.is_empty()
            || (rows.len() == 1 && self.consecutive_rejections >= MAX_CONSECUTIVE_REJECTIONS);
        if !is_hopeless && rows.len() == 1 {
            let row = rows.pop().map(|last| last.row);
            if row.as_ref().map(|row| &row.key) == self.retried.as_ref() {
                self.retried = None;
                self.consecutive_rejections += 1;
                self.rejected.extend(row.map(|row| RejectedRow {
                    row,
                    reason: "refused",
                    detail: why,
                }));
            } else {
                self.suspect = row.map(|row| (row, why));
            }
            return None;
        }
        self.max_rows = (rows.len() / 2).max(1);
        self.put_back(rows, now_ms);
        if let Some((row, _)) = self.suspect.take() {
            self.pending.insert(row, now_ms);
        }
        let continues = self.is_full && self.next_spreadsheet.is_some();
        (is_hopeless && !continues).then_some(why)
    }

    /// Takes the rows that must be dead-lettered.
    pub(crate) fn take_rejected(&mut self) -> Vec<RejectedRow> {
        std::mem::take(&mut self.rejected)
    }

    fn due_rows(&self) -> Vec<RowKey> {
        let rows = self.pending.in_order();
        self.fitting(rows.take_while(|row| self.is_draining || row.key.time <= self.watermark))
    }

    fn lowest_rows(&self) -> Vec<RowKey> {
        let mut rows: Vec<&SheetRow> = self.pending.in_order().collect();
        rows.sort_by_key(|row| row.key.offset);
        let mut keys = self.fitting(rows.into_iter());
        keys.sort();
        keys
    }

    /// As many rows as a batch may have, but at least one.
    fn fitting<'a>(&self, rows: impl Iterator<Item = &'a SheetRow>) -> Vec<RowKey> {
        let mut bytes = 0;
        let fitting = rows.take(self.max_rows).take_while(|row| {
            let first = bytes == 0;
            bytes += row.cells.iter().map(Cell::size).sum::<usize>().max(1);
            first || bytes <= MAX_BATCH_BYTES
        });
        fitting.map(|row| row.key.clone()).collect()
    }

    fn take(&mut self, keys: &[RowKey]) -> Vec<SheetRow> {
        keys.iter()
            .filter_map(|key| self.pending.remove(key))
            .collect()
    }

    fn put_back(&mut self, rows: Vec<BatchRow>, now_ms: i64) {
        for BatchRow { row, .. } in rows {
            self.pending.insert(row, now_ms);
        }
    }

    /// The last batch of this tab. Pending rows are read again for the next one.
    fn close(&self, now_ms: i64) -> Option<SheetBatch> {
        let checkpoint = Checkpoint {
            created_ms: now_ms,
            positions: self.done.clone(),
            continues_in: self.next_spreadsheet.clone(),
            ..self.known.checkpoint.clone()
        };
        Some(SheetBatch {
            checkpoint_id: self.known.closing_id()?,
            checkpoint_json: checkpoint.to_json(),
            checkpoint,
            predecessor: Predecessor::Checkpoint(self.known.clone()),
            new_headings: Vec::new(),
            rows: Vec::new(),
            is_probe: false,
        })
    }

    /// `None` if the tab has no version left, or if every row was rejected.
    fn build(&mut self, rows: Vec<SheetRow>, now_ms: i64) -> Option<SheetBatch> {
        let id = self.known.next_id()?;
        let mut checkpoint = Checkpoint {
            created_ms: now_ms,
            positions: self.done.clone(),
            ..self.known.checkpoint.clone()
        };
        let (had_rows, mut titles, mut written) = (!rows.is_empty(), Vec::new(), Vec::new());
        for row in rows {
            if let Err(detail) = add_columns(&mut checkpoint, &mut titles, &row) {
                self.rejected.push(RejectedRow {
                    row,
                    reason: "too-many-columns",
                    detail,
                });
                continue;
            }
            let key = (row.key.time, row.key.id.clone());
            let is_late = key < checkpoint.last;
            checkpoint.last = checkpoint.last.max(key);
            checkpoint.rows += 1;
            checkpoint
                .positions
                .of(&row.key.partition, row.key.offset)
                .add_row(row.key.offset);
            written.push(BatchRow { row, is_late });
        }
        if had_rows && written.is_empty() {
            return None;
        }
        self.has_skipped = false;
        let predecessor = Predecessor::Checkpoint(self.known.clone());
        Some(SheetBatch {
            checkpoint_id: id,
            checkpoint_json: checkpoint.to_json(),
            checkpoint,
            predecessor,
            new_headings: titles,
            rows: written,
            is_probe: self.suspect.is_some(),
        })
    }
}

/// Adds the columns that this row is the first to have. They must fit into the checkpoint.
fn add_columns(
    checkpoint: &mut Checkpoint,
    titles: &mut Vec<String>,
    row: &SheetRow,
) -> Result<(), String> {
    let columns = &mut checkpoint.columns;
    let new: Vec<_> = row
        .cells
        .iter()
        .filter(|cell| !columns.contains(&cell.column))
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let all: Vec<_> = columns
        .iter()
        .chain(new.iter().map(|cell| &cell.column))
        .collect();
    let names = serde_json::to_string(&all).expect("they are texts").len();
    let bytes = names + all.len() * DIGEST_BYTES;
    if bytes > MAX_COLUMN_BYTES {
        return Err(format!(
            "the names of all columns would need {bytes} bytes; {MAX_COLUMN_BYTES} is the limit"
        ));
    }
    titles.extend(new.iter().map(|cell| cell.title.clone()));
    checkpoint
        .heading_digests
        .resize(columns.len(), headings::UNKNOWN_DIGEST);
    let shown = new.iter().map(|cell| headings::cell_text(&cell.title));
    checkpoint
        .heading_digests
        .extend(shown.map(|title| headings::digest(&title)));
    columns.extend(new.iter().map(|cell| cell.column.clone()));
    Ok(())
}
