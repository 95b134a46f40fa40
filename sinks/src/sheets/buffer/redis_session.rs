//! A session whose rows wait in Redis: writes there what it reads, and flushes unless that is left
//! to `formline flush`. The next write detects what Redis has lost, which is then read from Kafka
//! again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use formline_core::{
    EventId, Record,
    app::{Buffer, Sheets},
    event,
    kafka::record::Partition,
    retry::Backoff,
    telemetry::HealthCheck,
};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::time::{Instant, timeout};

use super::{
    flusher::{FlushOutcome, Flusher},
    in_flight::InFlight,
    redis_queue::{Fill, QueueWrite, RedisQueue},
    watermark_follower::WatermarkFollower,
    writes::{self, WritesResult},
};
use crate::{
    engine::{
        context::SinkContext,
        dead_letter_queue::{DeadLetter, DeadLetterQueue},
        membership::{Offsets, Progress, Session},
    },
    error::Error,
    sheets::{
        log::{
            checkpoint::{DonePositions, KnownCheckpoint},
            offsets::DoneOffsets,
            row::{self, SheetRow},
        },
        tab_writer::TabWriter,
        watermark::WatermarkTracker,
    },
};

/// Partitions whose rows go to Redis.
pub(crate) struct RedisSession {
    sink: String,
    health: HealthCheck,
    partitions: Vec<Partition>,
    /// Identifies what this session writes to Redis.
    fill_id: String,
    /// What the sheet held when the session began. It is not written to Redis again.
    known: DonePositions,
    /// Identifies the tab: `first_created_ms` of its checkpoint.
    tab: i64,
    queue: RedisQueue,
    follower: WatermarkFollower,
    reads: BTreeMap<Partition, PartitionRead>,
    unwritten: UnwrittenRows,
    /// Times of submissions after the watermark.
    not_due: BTreeSet<i64>,
    /// The watermark, in microseconds since 1970, and the one that was last written to Redis.
    due: Option<i64>,
    written_due: Option<i64>,
    writes: InFlight<WritesResult>,
    next_check: Instant,
    generation: u64,
    /// Rows in Redis, as the last write has reported.
    queued: usize,
    /// `None` during a flush, and always if `formline flush` writes the rows.
    flusher: Option<Box<Flusher>>,
    flush: InFlight<FinishedFlush>,
    flush_interval: Duration,
    next_flush: Instant,
    /// Delays while Redis is unavailable, or Google rejects every row.
    backoff: Backoff,
    dead_letter_queue: DeadLetterQueue,
    /// Dead letters that are not in Kafka yet. Until they are, nothing is written to Redis, because
    /// their offsets would count as done.
    dead_letters: VecDeque<DeadLetter>,
}

/// How far one partition was read.
#[derive(Debug)]
struct PartitionRead {
    next: i64,
    /// The part of it that was written to Redis.
    written: i64,
    /// Where a new owner would begin.
    low: i64,
    rows: Vec<SheetRow>,
    /// Redis knows that this session fills it.
    has_begun: bool,
    /// A record was read since the session began.
    has_read: bool,
}

/// The size of the rows that were read but are not on their way to Redis.
#[derive(Debug, Default)]
struct UnwrittenRows {
    rows: usize,
    bytes: usize,
}

/// A flush that has ended, and its flusher.
struct FinishedFlush {
    flusher: Box<Flusher>,
    flushed: Result<FlushOutcome, Error>,
}

/// The most times that are kept while the watermark does not advance. Beyond it the earliest one is
/// forgotten; its row is due after the hold-back, or together with the next one.
const MAX_NOT_DUE: usize = 1_000_000;

/// At either limit of [`UnwrittenRows`], reading pauses. As much again may be on its way to Redis,
/// for instance while Redis is unavailable.
const MAX_ROWS: usize = 5_000;
const MAX_BYTES: usize = 32 << 20;

/// The interval of writes without news, which check whether Redis still has what it had.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a stopping sink waits for the flush under way. The next flush resolves its outcome
/// otherwise.
const GRACE: Duration = Duration::from_secs(5);

// === impl RedisSession ===

impl RedisSession {
    pub(crate) fn new(
        known: &KnownCheckpoint,
        tab: TabWriter,
        tracker: WatermarkTracker,
        queue: RedisQueue,
        context: &SinkContext,
        settings: &Sheets,
        partitions: Vec<Partition>,
    ) -> Self {
        let dead_letters = context.dead_letters.clone();
        let flushes = matches!(settings.buffer, Buffer::Redis { flushes: true, .. });
        let now = Instant::now();
        Self {
            sink: tab.sink.clone(),
            health: context.health.clone(),
            partitions,
            fill_id: EventId::new().to_string(),
            tab: known.checkpoint.first_created_ms,
            known: known.checkpoint.positions.clone(),
            queue: queue.clone(),
            follower: WatermarkFollower::new(&tab.sink, tracker.clone(), settings.grace),
            reads: BTreeMap::new(),
            unwritten: UnwrittenRows::default(),
            not_due: BTreeSet::new(),
            due: None,
            written_due: None,
            writes: InFlight::default(),
            next_check: now,
            generation: queue.generation(),
            queued: 0,
            flusher: flushes
                .then(|| Box::new(Flusher::new(tab, tracker, queue, dead_letters, settings))),
            flush: InFlight::default(),
            flush_interval: settings.flush_interval,
            next_flush: now,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            dead_letter_queue: context.dead_letters.clone(),
            dead_letters: VecDeque::new(),
        }
    }

    /// How far a partition was read. Reading begins where the sheet ends, or at `offset` if the
    /// sheet knows nothing of the partition.
    fn read(&mut self, partition: &Partition, offset: i64) -> &mut PartitionRead {
        let low = self.known.get(partition).map(DoneOffsets::low);
        let start = low.unwrap_or(offset);
        let read = self.reads.entry(partition.clone());
        read.or_insert_with(|| PartitionRead {
            next: start,
            written: start,
            low: start,
            rows: Vec::new(),
            has_begun: false,
            has_read: false,
        })
    }

    /// Where a new owner would begin to read.
    fn lows(&self) -> Offsets {
        let low = |partition: &Partition| {
            let read = self.reads.get(partition)?;
            Some((partition.clone(), read.low))
        };
        self.partitions.iter().filter_map(low).collect()
    }

    /// Adds a row that was read.
    fn add(&mut self, row: SheetRow) {
        let time = row.key.time;
        self.unwritten.add(row.size());
        let offset = row.key.offset;
        let partition = row.key.partition.clone();
        self.read(&partition, offset).rows.push(row);
        if self.due.is_none_or(|due| time > due) {
            self.not_due.insert(time);
            if self.not_due.len() > MAX_NOT_DUE {
                self.not_due.pop_first();
            }
        }
    }

    /// Writes the dead letters. An offset is done only when Kafka has its dead letter.
    async fn send_dead_letters(&mut self) -> Result<(), Error> {
        while let Some(letter) = self.dead_letters.front() {
            if !self.dead_letter_queue.send(letter).await? {
                break;
            }
            self.dead_letters.pop_front();
        }
        Ok(())
    }

    /// Applies the positions of the consumer and the watermark.
    fn update(&mut self, positions: &[(Partition, i64)]) {
        for partition in self.partitions.clone() {
            if let Some(low) = self.known.get(&partition).map(DoneOffsets::low) {
                self.read(&partition, low);
            }
        }
        let reads = &mut self.reads;
        for (partition, next) in positions {
            // Before the first record after a seek, the client may still report the position from
            // before it, and offsets below `next` count as done.
            if let Some(read) = reads.get_mut(partition).filter(|read| read.has_read) {
                read.next = read.next.max(*next);
            }
        }
        let next = |partition: &Partition| {
            let position = positions.iter().find(|(known, _)| known == partition);
            let taken = reads.get(partition).map(|read| read.next);
            position.map(|(_, next)| *next).max(taken)
        };
        if let Some(time) = self.follower.reached(&self.partitions, next) {
            self.due = self.due.max(Some(time));
            self.not_due = self.not_due.split_off(&time.saturating_add(1));
        }
        // Rows of other processes wait for the watermark of our partitions, too.
        let others = (self.queued > 0).then(|| self.due.unwrap_or_default());
        let waiting = self.not_due.first().copied().or(others);
        self.follower.measure_for(waiting);
    }

    /// Writes news to Redis, or checks from time to time what Redis has.
    fn start_writes(&mut self) {
        let has_news = self.written_due != self.due
            || self.generation != self.queue.generation()
            || self.reads.values().any(|read| read.next != read.written);
        let is_due = has_news || Instant::now() >= self.next_check;
        let is_blocked = !self.writes.is_idle() || !self.dead_letters.is_empty();
        if is_blocked || self.reads.is_empty() || !is_due {
            return;
        }
        self.written_due = self.due;
        self.generation = self.queue.generation();
        self.next_check = Instant::now() + CHECK_INTERVAL;
        let mut all = Vec::new();
        for (partition, read) in &mut self.reads {
            let fill = (!read.has_begun).then(|| Fill {
                partition: partition.clone(),
                id: self.fill_id.clone(),
                start: read.written,
                tab: self.tab,
            });
            let write = QueueWrite {
                partition: partition.clone(),
                fill_id: self.fill_id.clone(),
                expected: read.written,
                next: read.next,
                due: self.due,
                rows: std::mem::take(&mut read.rows),
            };
            (read.written, read.has_begun) = (read.next, true);
            all.push((fill, writes::split(write)));
        }
        self.unwritten = UnwrittenRows::default();
        let (queue, health) = (self.queue.clone(), self.health.clone());
        self.writes
            .start(writes::write_all(queue, health, self.sink.clone(), all));
    }

    fn start_flush(&mut self) {
        if Instant::now() < self.next_flush {
            return;
        }
        if let Some(mut flusher) = self.flusher.take() {
            self.next_flush = Instant::now() + self.flush_interval;
            self.flush.start(async move {
                let flushed = flusher.flush().await;
                FinishedFlush { flusher, flushed }
            });
        }
    }

    fn wrote(&mut self, result: WritesResult) -> Result<Progress, Error> {
        let Some((lows, queued)) = result? else {
            tracing::warn!(sink = self.sink, "redis has lost rows; reading them again");
            return Ok(Progress::Relocate(Vec::new()));
        };
        self.queued = queued;
        for (partition, low) in lows {
            if let Some(read) = self.reads.get_mut(&partition) {
                read.low = read.low.max(low);
            }
        }
        Ok(Progress::Advanced(self.lows()))
    }

    fn flushed(&mut self, finished: FinishedFlush) -> Result<Progress, Error> {
        let FinishedFlush { flusher, flushed } = finished;
        for (partition, read) in &mut self.reads {
            read.low = flusher
                .low(partition)
                .map_or(read.low, |low| low.max(read.low));
        }
        self.flusher = Some(flusher);
        let why = match flushed? {
            FlushOutcome::Written(_) | FlushOutcome::Shutdown => {
                self.backoff.reset();
                return Ok(Progress::Advanced(self.lows()));
            }
            FlushOutcome::Rejected(why) => why,
            FlushOutcome::Unavailable(error) => error.to_string(),
        };
        let wait = self.backoff.delay();
        tracing::warn!(
            sink = self.sink,
            why,
            ?wait,
            "cannot flush; rows wait in redis"
        );
        self.next_flush = Instant::now() + wait;
        Ok(Progress::Unchanged)
    }
}

impl Session for RedisSession {
    fn buffered(&self) -> usize {
        self.queued + self.unwritten.rows
    }

    fn is_full(&self, _: &Partition) -> bool {
        self.unwritten.is_full()
    }

    fn take(&mut self, record: Record) {
        let offset = record.offset;
        let known = self.known.get(&record.partition);
        let is_known = known.is_some_and(|known| known.contains(offset));
        let is_for_us = event::is_for(&record, &self.sink);
        let read = self.read(&record.partition, offset);
        if offset < read.next {
            return;
        }
        read.next = offset + 1;
        read.has_read = true;
        if is_known || !is_for_us {
            return;
        }
        match row::read_cells(record.value().unwrap_or_default()) {
            Ok(cells) => self.add(SheetRow::new(record, cells)),
            Err(why) => self.dead_letters.push_back(DeadLetter {
                record,
                reason: "malformed".into(),
                detail: why.to_string(),
                attempts: 1,
            }),
        }
    }

    fn advance<'a>(
        &'a mut self,
        positions: &'a [(Partition, i64)],
    ) -> BoxFuture<'a, Result<Offsets, Error>> {
        async {
            self.send_dead_letters().await?;
            self.update(positions);
            self.start_writes();
            self.start_flush();
            Ok(Vec::new())
        }
        .boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Progress, Error>> {
        async {
            tokio::select! {
                result = self.writes.ended() => self.wrote(result),
                finished = self.flush.ended() => self.flushed(finished),
                () = self.follower.measured() => Ok(Progress::Unchanged),
            }
        }
        .boxed()
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Offsets> {
        async move {
            if self.flush.is_idle() {
                return Vec::new();
            }
            let Ok(finished) = timeout(GRACE, self.flush.ended()).await else {
                return Vec::new();
            };
            match self.flushed(finished) {
                Ok(Progress::Advanced(offsets)) => offsets,
                Ok(_) | Err(_) => Vec::new(),
            }
        }
        .boxed()
    }
}

// === impl UnwrittenRows ===

impl UnwrittenRows {
    fn add(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes;
    }

    fn is_full(&self) -> bool {
        self.rows >= MAX_ROWS || self.bytes >= MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_or_large_ones_pause_reading() {
        for (rows, bytes) in [(MAX_ROWS, 1), (MAX_BYTES >> 20, 1 << 20)] {
            let mut unwritten = UnwrittenRows::default();
            for _ in 0..rows {
                assert!(!unwritten.is_full());
                unwritten.add(bytes);
            }
            assert!(unwritten.is_full());
        }
    }
}
