//! Writes the rows that wait in Redis and are due. Any process may flush: if several do, the
//! checkpoint in the sheet decides which one wins. The loser reads the checkpoint again and finds
//! the rows of the winner in it.

use std::collections::BTreeSet;

use formline_core::{Record, app::Sheets, kafka::record::Partition};

use super::{
    redis_queue::RedisQueue,
    redis_snapshot::{FilledPartition, QueuedRow, Snapshot},
};
use crate::{
    engine::dead_letter_queue::{DeadLetter, DeadLetterQueue},
    error::Error,
    redis::ScriptError,
    sheets::{
        log::{
            batch::BatchOutcome,
            checkpoint::KnownCheckpoint,
            row::{self, SheetRow},
        },
        plan::planner::{Limits, Planner},
        tab_writer::{TabWriter, now_ms},
        watermark::WatermarkTracker,
    },
};

/// Moves rows from Redis to a tab.
#[derive(Debug)]
pub(crate) struct Flusher {
    tab: TabWriter,
    tracker: WatermarkTracker,
    queue: RedisQueue,
    dead_letters: DeadLetterQueue,
    limits: Limits,
    /// The newest checkpoint, until another writer has changed the tab.
    known: Option<KnownCheckpoint>,
    /// How many rows in a row were found to be at fault for a rejection. After some, the sheet must
    /// be at fault.
    consecutive_rejections: usize,
    has_warned_nearly_full: bool,
}

/// How a flush has ended.
#[derive(Debug)]
pub(crate) enum FlushOutcome {
    /// The number of rows that were written; 0 if none was due.
    Written(usize),
    /// Google rejects every row. Retry with long delays.
    Rejected(String),
    /// Redis is unavailable or denies access. Retry.
    Unavailable(ScriptError),
    /// The shutdown began first.
    Shutdown,
}

/// Why a flush was interrupted.
enum FlushError {
    Unavailable(ScriptError),
    Fatal(Error),
}

/// The most gaps between written and waiting rows, over all partitions. The checkpoint must list
/// each gap. At this limit, the rows with the lowest offsets are written first, which closes gaps,
/// although later rows may become late.
const MAX_GAPS: usize = 500;

// === impl Flusher ===

impl Flusher {
    pub(crate) fn new(
        tab: TabWriter,
        tracker: WatermarkTracker,
        queue: RedisQueue,
        dead_letters: DeadLetterQueue,
        settings: &Sheets,
    ) -> Self {
        let hold_back_ms = i64::try_from(settings.hold_back.as_millis()).unwrap_or(i64::MAX);
        Self {
            tab,
            tracker,
            queue,
            dead_letters,
            limits: Limits {
                rows: settings.batch_rows,
                hold_back_ms,
            },
            known: None,
            consecutive_rejections: 0,
            has_warned_nearly_full: false,
        }
    }

    /// Where a new owner would begin to read a partition, by the newest checkpoint that is known.
    pub(crate) fn low(&self, partition: &Partition) -> Option<i64> {
        let checkpoint = &self.known.as_ref()?.checkpoint;
        Some(checkpoint.positions.get(partition)?.low())
    }

    /// Writes the earliest rows that are due, at most `batch_rows` of them.
    pub(crate) async fn flush(&mut self) -> Result<FlushOutcome, Error> {
        match self.try_flush().await {
            Ok(flush) => Ok(flush),
            Err(FlushError::Unavailable(error)) => Ok(FlushOutcome::Unavailable(error)),
            Err(FlushError::Fatal(error)) => Err(error),
        }
    }

    async fn try_flush(&mut self) -> Result<FlushOutcome, FlushError> {
        loop {
            let held_before = now_ms() - self.limits.hold_back_ms;
            let Some(snapshot) = self.queue.snapshot(held_before, self.limits.rows).await? else {
                tracing::warn!(
                    sink = self.tab.sink,
                    "redis has lost rows; reading them again"
                );
                return Ok(FlushOutcome::Written(0));
            };
            if snapshot.rows.is_empty() {
                return Ok(FlushOutcome::Written(0));
            }
            let is_of =
                |known: &KnownCheckpoint| snapshot.tab == Some(known.checkpoint.first_created_ms);
            let known = match self.known.take().filter(is_of) {
                Some(known) => known,
                None => self.find(&snapshot).await?,
            };
            if !is_of(&known) {
                tracing::warn!(
                    sink = self.tab.sink,
                    "the rows in redis belong to a tab that no longer exists; reading them again"
                );
                self.queue.clear(snapshot.tab).await?;
                return Ok(FlushOutcome::Written(0));
            }
            let written = already_written(&snapshot, &known);
            self.remove(&written, &known).await?;
            let due = choose(
                &snapshot,
                &known,
                &self.dead_letters.sink.input,
                self.limits.rows,
            );
            if due.is_empty() && !written.is_empty() {
                // Other rows may follow them in the queue.
                self.known = Some(known);
                continue;
            }
            let records = self.queue.fetch(&due).await?;
            let planner = planner(&snapshot, known, records, self.limits);
            let tab = self
                .tab
                .for_spreadsheet(&planner.known().checkpoint.spreadsheet)?;
            let planner = planner.with_next_spreadsheet(tab.next_spreadsheets.first().cloned());
            let planner = planner.with_consecutive_rejections(self.consecutive_rejections);
            if let Some(flush) = self.write(&tab, planner).await? {
                return Ok(flush);
            }
        }
    }

    /// The newest checkpoint, as a process that has just started finds it.
    async fn find(&self, snapshot: &Snapshot) -> Result<KnownCheckpoint, Error> {
        let filled = snapshot.filled.iter();
        let partitions = filled.map(|one| one.partition.clone()).collect();
        let committed = self.tracker.wait_for_committed(partitions).await;
        self.tab.clone().find(committed).await
    }

    /// Writes until the planner has nothing left. `None` if another writer has changed the tab
    /// meanwhile.
    async fn write(
        &mut self,
        tab: &TabWriter,
        mut planner: Planner,
    ) -> Result<Option<FlushOutcome>, FlushError> {
        let mut written = 0;
        while let Some(batch) = planner.next_batch(now_ms()) {
            let (mut refusal, mut done) = (None, Vec::new());
            let delivered = tab.clone().deliver(batch).await;
            match delivered.outcome {
                BatchOutcome::Written => {
                    let rows = planner.written(delivered.batch, delivered.as_of_ms);
                    let cells = planner.known().cells;
                    tab.metrics.written(&rows, cells);
                    if planner.is_nearly_full() && !self.has_warned_nearly_full {
                        self.has_warned_nearly_full = tab.warn_nearly_full(cells);
                    }
                    written += rows.len();
                    done.extend(rows.iter().map(|row| QueuedRow::of(&row.row.key)));
                }
                BatchOutcome::Rejected(why) => {
                    refusal = planner.rejected(delivered.batch, why, now_ms());
                }
                BatchOutcome::Superseded | BatchOutcome::TabChanged => return Ok(None),
            }
            self.consecutive_rejections = planner.consecutive_rejections();
            let has_sent = self.send_dead_letters(&mut planner, &mut done).await?;
            self.remove(&done, planner.known()).await?;
            if let Some(why) = refusal {
                return Ok(Some(FlushOutcome::Rejected(why)));
            }
            if !has_sent || self.dead_letters.producer.shutdown.has_begun() {
                return Ok(Some(FlushOutcome::Shutdown));
            }
        }
        if planner.is_closed() {
            return Ok(None);
        }
        if planner.known().next_id().is_none() {
            let tab = self.tab.title.clone();
            return Err(Error::TabUsedUp { tab }.into());
        }
        self.known = Some(planner.known().clone());
        Ok(Some(FlushOutcome::Written(written)))
    }

    /// Dead-letters the rows that the planner has rejected, and adds them to `done`. Returns false
    /// if the shutdown began first.
    async fn send_dead_letters(
        &self,
        planner: &mut Planner,
        done: &mut Vec<QueuedRow>,
    ) -> Result<bool, Error> {
        for rejected in planner.take_rejected() {
            let key = rejected.row.key;
            if let Some(record) = rejected.row.record {
                let (reason, detail) = (rejected.reason, rejected.detail);
                let letter = DeadLetter {
                    record,
                    reason: reason.into(),
                    detail,
                    attempts: 1,
                };
                if !self.dead_letters.send(&letter).await? {
                    return Ok(false);
                }
            }
            planner.skip(&key.partition, key.offset);
            done.push(QueuedRow::of(&key));
        }
        Ok(true)
    }

    async fn remove(&self, done: &[QueuedRow], known: &KnownCheckpoint) -> Result<(), FlushError> {
        if done.is_empty() {
            return Ok(());
        }
        Ok(self.queue.remove(done, &known.checkpoint).await?)
    }
}

// === impl FlushError ===

impl From<ScriptError> for FlushError {
    fn from(error: ScriptError) -> Self {
        match error {
            ScriptError::Unavailable(_) | ScriptError::Denied(_) => Self::Unavailable(error),
            ScriptError::Rejected(_) => Self::Fatal(Error::Redis(error.to_string())),
        }
    }
}

impl From<Error> for FlushError {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// The rows to write next: the earliest ones that are due, unless the checkpoint would have to list
/// too many gaps. Partitions of topics that the sink no longer reads do not hold back the others.
fn choose(
    snapshot: &Snapshot,
    known: &KnownCheckpoint,
    inputs: &[String],
    max_rows: usize,
) -> Vec<QueuedRow> {
    let is_new = |row: &&QueuedRow| !is_in(known, row);
    let due = snapshot.due(inputs).unwrap_or(i64::MIN);
    let rows = snapshot.rows.iter();
    let rows = rows.take_while(|(time, _)| snapshot.is_full || *time <= due);
    let rows = rows.map(|(_, row)| row).filter(is_new);
    let due: Vec<QueuedRow> = rows.take(max_rows).cloned().collect();
    if snapshot.is_full || gaps(snapshot, known, &due) <= MAX_GAPS {
        return due;
    }
    let lowest = snapshot.filled.iter().flat_map(|filled| &filled.lowest);
    let mut lowest: Vec<&QueuedRow> = lowest.filter(is_new).collect();
    lowest.sort_by_key(|row| row.offset);
    lowest.into_iter().take(max_rows).cloned().collect()
}

fn already_written(snapshot: &Snapshot, known: &KnownCheckpoint) -> Vec<QueuedRow> {
    let written = snapshot.all_rows().filter(|row| is_in(known, row));
    written.cloned().collect()
}

fn is_in(known: &KnownCheckpoint, row: &QueuedRow) -> bool {
    let offsets = known.checkpoint.positions.get(&row.partition);
    offsets.is_some_and(|offsets| offsets.contains(row.offset))
}

/// A planner whose rows are all due.
fn planner(
    snapshot: &Snapshot,
    known: KnownCheckpoint,
    records: Vec<Record>,
    limits: Limits,
) -> Planner {
    let mut planner = Planner::new(known, limits);
    for filled in &snapshot.filled {
        let read = filled.start..filled.known;
        planner.add_read_elsewhere(&filled.partition, read, &offsets(filled));
    }
    planner.advance_watermark(i64::MAX);
    for record in records {
        // The process that wrote it to Redis has parsed it as a row.
        if let Ok(cells) = row::read_cells(record.value().unwrap_or_default()) {
            planner.add(SheetRow::new(record, cells), now_ms());
        }
    }
    planner
}

fn offsets(filled: &FilledPartition) -> BTreeSet<i64> {
    filled.lowest.iter().map(|row| row.offset).collect()
}

/// How many gaps the checkpoint would have to list after these rows were written.
fn gaps(snapshot: &Snapshot, known: &KnownCheckpoint, written: &[QueuedRow]) -> usize {
    let mut positions = known.checkpoint.positions.clone();
    for filled in &snapshot.filled {
        let read = filled.start..filled.known;
        positions.add_read_elsewhere(&filled.partition, read, &offsets(filled));
    }
    for row in written {
        let done = positions.of(&row.partition, row.offset);
        done.add_row(row.offset);
    }
    positions.gaps()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sheets::log::{checkpoint::Checkpoint, row::RowKey};

    /// Rows at every second offset, as a step writes them with one row in each transaction. Their
    /// times are one microsecond apart.
    fn snapshot(rows: i64, due: i64) -> Snapshot {
        let row = |n: i64| {
            let partition = Partition {
                topic: "rows".into(),
                number: 0,
            };
            QueuedRow::of(&RowKey {
                time: n,
                id: n.to_string(),
                partition,
                offset: 2 * n,
            })
        };
        Snapshot {
            rows: (0..rows).map(|n| (n, row(n))).collect(),
            filled: vec![FilledPartition {
                partition: row(0).partition,
                start: 0,
                due: Some(due),
                lowest: (0..rows).map(row).collect(),
                known: 2 * rows,
            }],
            ..Snapshot::default()
        }
    }

    fn known() -> KnownCheckpoint {
        KnownCheckpoint {
            id: 1,
            checkpoint: Checkpoint::default(),
            read_ms: 0,
            older: Vec::new(),
            cells: 0,
        }
    }

    fn chosen(snapshot: &Snapshot, input: &str) -> Vec<i64> {
        let chosen = choose(snapshot, &known(), &[input.to_owned()], 10_000);
        chosen.iter().map(|row| row.offset / 2).collect()
    }

    #[test]
    fn control_records_between_rows_are_no_gaps() {
        assert_eq!(
            chosen(&snapshot(600, 99), "rows"),
            (0..100).collect::<Vec<_>>()
        );
    }

    #[test]
    fn many_gaps_are_closed_before_new_ones_are_made() {
        // Every second row is early, and those between them are not due yet.
        let mut snapshot = snapshot(1_200, 1_199);
        for (n, row) in snapshot
            .rows
            .iter_mut()
            .enumerate()
            .filter(|(n, _)| n % 2 == 0)
        {
            row.0 = 10_000 + i64::try_from(n).expect("the number is small");
        }
        snapshot.rows.sort_by_key(|(time, _)| *time);
        assert_eq!(chosen(&snapshot, "rows"), (0..1_200).collect::<Vec<_>>());
    }

    #[test]
    fn a_topic_that_is_no_longer_read_holds_nothing_back() {
        let mut snapshot = snapshot(3, 1);
        snapshot.filled.push(FilledPartition {
            partition: Partition {
                topic: "old".into(),
                number: 0,
            },
            due: None,
            lowest: Vec::new(),
            ..snapshot.filled[0].clone()
        });
        assert_eq!(chosen(&snapshot, "rows"), [0, 1]);
        assert_eq!(chosen(&snapshot, "old"), [0; 0]);
    }
}
