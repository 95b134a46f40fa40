//! Decides which rows are written when and in which order. It does no I/O and reads no clock, so that a simulation
//! can lead it through every kind of mishap.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use formline_core::record::Partition;

use super::{
    batch::{Batch, Follows, Line},
    buffer::Buffer,
    headings,
    mark::{ENOUGH_CELLS, Known, MAX_BYTES, MAX_COLUMN_BYTES, Mark, Positions},
    offsets::Offsets,
    request,
    row::{Cell, Key, Row},
};

/// The state of a tab between two looks at its marks.
#[derive(Debug)]
pub(crate) struct Plan {
    known: Known,
    limits: Limits,
    /// The spreadsheet to go on in when this one is full.
    next_spreadsheet: Option<String>,
    /// Google says that the spreadsheet is full.
    full: bool,
    buffer: Buffer,
    /// What need not be read again: `known.mark.positions`, and what brought no row since.
    done: Positions,
    /// Where reading goes on.
    next: HashMap<Partition, i64>,
    /// Rows submitted until then are due, in microseconds since 1970.
    due: i64,
    /// The buffer was full, and is being emptied by half.
    draining: bool,
    /// Dead letters were parked since the last mark.
    parked: bool,
    /// Most rows of the next batch. A refusal halves it, a success doubles it.
    rows: usize,
    /// A row that was refused alone. If the sheet takes a blank row instead, this one seems to be at fault.
    suspect: Option<(Row, String)>,
    /// The same when it has: the row is tried once more, for a person may have mended the sheet between the two.
    retried: Option<Key>,
    /// Rows that were to blame, one after another.
    blamed: usize,
    given_up: Vec<GivenUp>,
}

/// What the operator sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most rows of a batch.
    pub(crate) rows: usize,
    /// Rows are held back at most this long.
    pub(crate) hold_back_ms: i64,
}

/// A row to be parked as a dead letter. It is done with once `rowless` is told so.
#[derive(Debug)]
pub(crate) struct GivenUp {
    pub(crate) row: Row,
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

/// Google recommends 2 MB for a request; JSON around the values takes the rest.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// When so many rows were blamed one after another, the sheet must be at fault, although it took blank rows.
const MAX_BLAMED: usize = 2;

/// Of a heading in the mark, with a comma.
const DIGEST_BYTES: usize = 6;

/// What Google says of a full spreadsheet.
const FULL: &str = "10000000 cells";

// === impl Plan ===

impl Plan {
    pub(crate) fn new(known: Known, limits: Limits) -> Self {
        let done = known.mark.positions.clone();
        Self {
            known,
            limits,
            next_spreadsheet: None,
            full: false,
            buffer: Buffer::default(),
            done,
            next: HashMap::new(),
            due: i64::MIN,
            draining: false,
            parked: false,
            rows: limits.rows,
            suspect: None,
            retried: None,
            blamed: 0,
            given_up: Vec::new(),
        }
    }

    /// When the spreadsheet is full, the tab is closed and the sink goes on in `next`.
    pub(crate) fn going_on_in(mut self, next: Option<String>) -> Self {
        self.next_spreadsheet = next;
        self
    }

    /// So many rows were blamed one after another before.
    pub(crate) fn having_blamed(mut self, rows: usize) -> Self {
        self.blamed = rows;
        self
    }

    pub(crate) fn blamed(&self) -> usize {
        self.blamed
    }

    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// Where reading a partition must go on; none if the sheet knows nothing of it.
    pub(crate) fn next(&self, partition: &Partition) -> Option<i64> {
        let low = || self.done.get(partition).map(Offsets::low);
        self.next.get(partition).copied().or_else(low)
    }

    /// Whether the tab is closed: what is buffered belongs to the next spreadsheet.
    pub(crate) fn is_closed(&self) -> bool {
        self.known.mark.next.is_some()
    }

    /// Whether the spreadsheet will soon take no row, or takes none already.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.full || self.known.cells >= ENOUGH_CELLS
    }

    /// Whether the tab has no version left for a row. Another spreadsheet is the way out, as of a full one.
    pub(crate) fn is_used_up(&self) -> bool {
        !self.is_closed() && self.known.next_id().is_none()
    }

    /// Rows that are neither written nor in hand.
    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len() + usize::from(self.suspect.is_some())
    }

    /// Whether reading should pause until there is room again.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Notes that a record was read, and says whether it is still to be written. Offsets that were skipped on the
    /// way (control records, aborted transactions) are done with.
    pub(crate) fn read(&mut self, partition: &Partition, offset: i64) -> bool {
        let next = self.next(partition).unwrap_or(offset);
        if offset < next {
            return false;
        }
        let done = self.done.of(partition, next);
        done.add_rowless(next, offset);
        self.next.insert(partition.clone(), offset + 1);
        !done.contains(offset)
    }

    /// Takes a row that is to be written.
    pub(crate) fn add(&mut self, row: Row, now_ms: i64) {
        self.buffer.insert(row, now_ms);
        self.draining |= self.buffer.is_full();
    }

    /// Notes that a record brings no row: it is parked as a dead letter.
    pub(crate) fn rowless(&mut self, partition: &Partition, offset: i64) {
        self.done
            .of(partition, offset)
            .add_rowless(offset, offset + 1);
        self.parked = true;
    }

    /// Notes what another process has read: of these offsets, those that do not wait are done with.
    pub(crate) fn read_elsewhere(
        &mut self,
        partition: &Partition,
        read: Range<i64>,
        waiting: &BTreeSet<i64>,
    ) {
        self.done.read_elsewhere(partition, read, waiting);
    }

    /// Notes that every row that was submitted until `time` (microseconds since 1970) has been added.
    pub(crate) fn complete_until(&mut self, time: i64) {
        self.due = self.due.max(time);
    }

    /// When the earliest row was submitted that cannot be written in order yet.
    pub(crate) fn waits_for(&self) -> Option<i64> {
        self.buffer.first_after(self.due)
    }

    /// The next write, if one is due. Its rows leave the buffer.
    pub(crate) fn next_batch(&mut self, now_ms: i64) -> Option<Batch> {
        if self.is_closed() {
            return None;
        }
        if (self.is_nearly_full() || self.is_used_up()) && self.next_spreadsheet.is_some() {
            return self.close(now_ms);
        }
        self.known.next_id()?;
        if self.suspect.is_some() {
            return self.build(Vec::new(), now_ms);
        }
        if let Some(time) = self
            .buffer
            .latest_held_since(now_ms - self.limits.hold_back_ms)
        {
            self.complete_until(time);
        }
        let rows = self.take(&self.due_rows());
        if rows.is_empty() {
            let only_dead_letters = self.parked && self.buffer.is_empty();
            return if only_dead_letters {
                self.build(rows, now_ms)
            } else {
                None
            };
        }
        let batch = self.build(rows, now_ms)?;
        if batch.value.len() <= MAX_BYTES {
            return Some(batch);
        }
        // Too many gaps between what is written and what is not. Writing the lowest offsets makes none.
        self.put_back(batch.rows, now_ms);
        let rows = self.take(&self.lowest_rows());
        self.build(rows, now_ms)
    }

    /// Takes note that a batch is in the sheet.
    pub(crate) fn written(&mut self, batch: Batch, read_ms: i64) -> Vec<Line> {
        let (known, lines) = batch.into_known(read_ms);
        self.known = known;
        for Line { row, .. } in &lines {
            self.done
                .of(&row.key.partition, row.key.offset)
                .add_row(row.key.offset);
        }
        if let Some((row, _)) = self.suspect.take() {
            self.retried = Some(row.key.clone());
            self.rows = 1;
            self.buffer.insert(row, read_ms);
        } else if !lines.is_empty() {
            (self.blamed, self.retried) = (0, None);
            self.rows = (self.rows * 2).min(self.limits.rows);
        }
        self.draining &= !self.buffer.is_half_empty();
        lines
    }

    /// Takes note that Google refuses a batch. Returns the reason if trying smaller ones is of no use.
    pub(crate) fn refused(&mut self, batch: Batch, why: String, now_ms: i64) -> Option<String> {
        let mut lines = batch.rows;
        self.parked = true;
        self.full = why.contains(FULL);
        let hopeless =
            self.full || lines.is_empty() || (lines.len() == 1 && self.blamed >= MAX_BLAMED);
        if !hopeless && lines.len() == 1 {
            let row = lines.pop().map(|line| line.row);
            if row.as_ref().map(|row| &row.key) == self.retried.as_ref() {
                self.retried = None;
                self.blamed += 1;
                self.given_up.extend(row.map(|row| GivenUp {
                    row,
                    reason: "refused",
                    detail: why,
                }));
            } else {
                self.suspect = row.map(|row| (row, why));
            }
            return None;
        }
        self.rows = (lines.len() / 2).max(1);
        self.put_back(lines, now_ms);
        if let Some((row, _)) = self.suspect.take() {
            self.buffer.insert(row, now_ms);
        }
        let goes_on = self.full && self.next_spreadsheet.is_some();
        (hopeless && !goes_on).then_some(why)
    }

    /// Rows that must be parked as dead letters.
    pub(crate) fn given_up(&mut self) -> Vec<GivenUp> {
        std::mem::take(&mut self.given_up)
    }

    fn due_rows(&self) -> Vec<Key> {
        let rows = self.buffer.in_order();
        self.fitting(rows.take_while(|row| self.draining || row.key.time <= self.due))
    }

    fn lowest_rows(&self) -> Vec<Key> {
        let mut rows: Vec<&Row> = self.buffer.in_order().collect();
        rows.sort_by_key(|row| row.key.offset);
        let mut keys = self.fitting(rows.into_iter());
        keys.sort();
        keys
    }

    /// As many as a batch may have, but at least one.
    fn fitting<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<Key> {
        let mut bytes = 0;
        let fitting = rows.take(self.rows).take_while(|row| {
            let first = bytes == 0;
            bytes += row.cells.iter().map(Cell::size).sum::<usize>().max(1);
            first || bytes <= MAX_BATCH_BYTES
        });
        fitting.map(|row| row.key.clone()).collect()
    }

    fn take(&mut self, keys: &[Key]) -> Vec<Row> {
        keys.iter()
            .filter_map(|key| self.buffer.remove(key))
            .collect()
    }

    fn put_back(&mut self, lines: Vec<Line>, now_ms: i64) {
        for line in lines {
            self.buffer.insert(line.row, now_ms);
        }
    }

    /// The batch behind which nothing is written to this tab. What is buffered is read again for the next one.
    fn close(&self, now_ms: i64) -> Option<Batch> {
        let mark = Mark {
            at: now_ms,
            positions: self.done.clone(),
            next: self.next_spreadsheet.clone(),
            ..self.known.mark.clone()
        };
        Some(Batch {
            id: self.known.closing_id()?,
            value: mark.to_json(),
            mark,
            follows: Follows::Mark(self.known.clone()),
            headings: Vec::new(),
            rows: Vec::new(),
            probe: false,
        })
    }

    /// None if the tab has no version left, or every row was given up.
    fn build(&mut self, rows: Vec<Row>, now_ms: i64) -> Option<Batch> {
        let id = self.known.next_id()?;
        let mut mark = Mark {
            at: now_ms,
            positions: self.done.clone(),
            ..self.known.mark.clone()
        };
        let (had_rows, mut titles, mut lines) = (!rows.is_empty(), Vec::new(), Vec::new());
        for row in rows {
            if let Err(detail) = add_columns(&mut mark, &mut titles, &row) {
                self.given_up.push(GivenUp {
                    row,
                    reason: "too-many-columns",
                    detail,
                });
                continue;
            }
            let place = (row.key.time, row.key.id.clone());
            let late = place < mark.last;
            mark.last = mark.last.max(place);
            mark.rows += 1;
            mark.positions
                .of(&row.key.partition, row.key.offset)
                .add_row(row.key.offset);
            lines.push(Line { row, late });
        }
        if had_rows && lines.is_empty() {
            return None;
        }
        self.parked = false;
        let follows = Follows::Mark(self.known.clone());
        Some(Batch {
            id,
            value: mark.to_json(),
            mark,
            follows,
            headings: titles,
            rows: lines,
            probe: self.suspect.is_some(),
        })
    }
}

/// Adds the columns that a row is the first to have. They must fit into the mark.
fn add_columns(mark: &mut Mark, titles: &mut Vec<String>, row: &Row) -> Result<(), String> {
    let columns = &mut mark.columns;
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
    mark.headings.resize(columns.len(), headings::UNKNOWN);
    let shown = new.iter().map(|cell| request::shown(&cell.title));
    mark.headings
        .extend(shown.map(|title| headings::digest(&title)));
    columns.extend(new.iter().map(|cell| cell.column.clone()));
    Ok(())
}
