//! A session whose rows wait in memory: starts writes and measurements of the watermark when they
//! are due, and applies their results.

use std::{collections::VecDeque, time::Duration};

use formline_core::{Record, app::Sheets, event, kafka::record::Partition, retry::Backoff};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::time::{Instant, timeout};

use super::{in_flight::InFlight, watermark_follower::WatermarkFollower};
use crate::{
    engine::{
        dead_letter_queue::{DeadLetter, DeadLetterQueue},
        membership::{Offsets, Progress, Session},
    },
    error::Error,
    sheets::{
        log::{
            batch::BatchOutcome,
            checkpoint::KnownCheckpoint,
            offsets::DoneOffsets,
            row::{self, SheetRow},
        },
        plan::planner::{Limits, Planner},
        tab_writer::{DeliveredBatch, TabWriter, now_ms},
        watermark::WatermarkTracker,
    },
};

/// A tab that is being written.
pub(crate) struct MemorySession {
    partitions: Vec<Partition>,
    planner: Planner,
    tab: TabWriter,
    follower: WatermarkFollower,
    flush_interval: Duration,
    delivery: InFlight<DeliveredBatch>,
    /// When the next write may begin.
    next_write: Instant,
    /// Delays while Google rejects every row.
    rejections: Backoff,
    dead_letter_queue: DeadLetterQueue,
    /// Dead letters that are not in Kafka yet.
    dead_letters: VecDeque<DeadLetter>,
    has_warned_nearly_full: bool,
}

/// How long a stopping sink waits for the write under way. The next start resolves its outcome
/// otherwise.
const GRACE: Duration = Duration::from_secs(5);

// === impl MemorySession ===

impl MemorySession {
    pub(crate) fn new(
        known: KnownCheckpoint,
        tab: TabWriter,
        tracker: WatermarkTracker,
        dead_letter_queue: DeadLetterQueue,
        settings: &Sheets,
        partitions: Vec<Partition>,
    ) -> Self {
        let hold_back_ms = i64::try_from(settings.hold_back.as_millis()).unwrap_or(i64::MAX);
        let limits = Limits {
            rows: settings.batch_rows,
            hold_back_ms,
        };
        let next_spreadsheet = tab.next_spreadsheets.first().cloned();
        Self {
            partitions,
            planner: Planner::new(known, limits).with_next_spreadsheet(next_spreadsheet),
            follower: WatermarkFollower::new(&tab.sink, tracker, settings.grace),
            tab,
            flush_interval: settings.flush_interval,
            delivery: InFlight::default(),
            next_write: Instant::now(),
            rejections: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            dead_letter_queue,
            dead_letters: VecDeque::new(),
            has_warned_nearly_full: false,
        }
    }

    fn delivered(&mut self, delivered: DeliveredBatch) -> Progress {
        let DeliveredBatch {
            batch,
            outcome,
            as_of_ms,
        } = delivered;
        match outcome {
            BatchOutcome::Written => {
                let rows = self.planner.written(batch, as_of_ms);
                self.rejections.reset();
                self.tab.metrics.written(&rows, self.planner.known().cells);
                if self.planner.is_closed() {
                    return Progress::Relocate(self.lows());
                }
                self.warn_nearly_full();
                Progress::Advanced(self.lows())
            }
            BatchOutcome::Rejected(why) => {
                self.next_write = Instant::now();
                if let Some(why) = self.planner.rejected(batch, why, now_ms()) {
                    let wait = self.rejections.delay();
                    tracing::error!(
                        sink = self.tab.sink,
                        why,
                        ?wait,
                        "google sheets accepts no row; rows wait in kafka"
                    );
                    self.next_write += wait;
                }
                Progress::Unchanged
            }
            BatchOutcome::Superseded | BatchOutcome::TabChanged => {
                tracing::warn!(sink = self.tab.sink, ?outcome, "reading the tab again");
                Progress::Relocate(Vec::new())
            }
        }
    }

    /// Where a new owner would begin to read, by what the sheet holds.
    fn lows(&self) -> Offsets {
        let positions = &self.planner.known().checkpoint.positions;
        let low = |partition: &Partition| {
            let low = positions.get(partition).map(DoneOffsets::low)?;
            Some((partition.clone(), low))
        };
        self.partitions.iter().filter_map(low).collect()
    }

    /// Logs once, in time, that the spreadsheet is nearly full and the app lists no other one.
    fn warn_nearly_full(&mut self) {
        if !self.has_warned_nearly_full && self.planner.is_nearly_full() {
            let cells = self.planner.known().cells;
            self.has_warned_nearly_full = self.tab.warn_nearly_full(cells);
        }
    }

    fn write(&mut self) -> Result<(), Error> {
        if let Some(batch) = self.planner.next_batch(now_ms()) {
            self.next_write = Instant::now() + self.flush_interval;
            self.delivery.start(self.tab.clone().deliver(batch));
        } else if self.planner.is_exhausted() {
            return Err(Error::TabUsedUp {
                tab: self.tab.title.clone(),
            });
        }
        Ok(())
    }

    /// Writes the dead letters. An offset is done only when Kafka has its dead letter.
    async fn send_dead_letters(&mut self) -> Result<(), Error> {
        let rejected = self.planner.take_rejected().into_iter();
        self.dead_letters.extend(rejected.filter_map(|rejected| {
            Some(DeadLetter {
                record: rejected.row.record?,
                reason: rejected.reason.into(),
                detail: rejected.detail,
                attempts: 1,
            })
        }));
        while let Some(letter) = self.dead_letters.front() {
            if !self.dead_letter_queue.send(letter).await? {
                break;
            }
            let record = &letter.record;
            self.planner.skip(&record.partition, record.offset);
            self.dead_letters.pop_front();
        }
        Ok(())
    }
}

impl Session for MemorySession {
    fn buffered(&self) -> usize {
        self.planner.buffered()
    }

    fn is_full(&self, _: &Partition) -> bool {
        self.planner.is_draining()
    }

    fn take(&mut self, record: Record) {
        if !self.planner.read(&record.partition, record.offset) {
            return;
        }
        // A replayed record of another group, which this sink has already received.
        if !event::is_for(&record, &self.tab.sink) {
            self.planner.skip(&record.partition, record.offset);
            return;
        }
        match row::read_cells(record.value().unwrap_or_default()) {
            Ok(cells) => self.planner.add(SheetRow::new(record, cells), now_ms()),
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
            let planner = &self.planner;
            let next = |partition: &Partition| {
                let position = positions.iter().find(|(known, _)| known == partition);
                position.map(|(_, next)| *next).max(planner.next(partition))
            };
            if let Some(time) = self.follower.reached(&self.partitions, next) {
                self.planner.advance_watermark(time);
            }
            if self.delivery.is_idle() && Instant::now() >= self.next_write {
                self.write()?;
            }
            self.follower.measure_for(self.planner.earliest_waiting());
            Ok(Vec::new())
        }
        .boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Progress, Error>> {
        async {
            tokio::select! {
                delivered = self.delivery.ended() => Ok(self.delivered(delivered)),
                () = self.follower.measured() => Ok(Progress::Unchanged),
            }
        }
        .boxed()
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Offsets> {
        async move {
            if self.delivery.is_idle() {
                return Vec::new();
            }
            let Ok(delivered) = timeout(GRACE, self.delivery.ended()).await else {
                return Vec::new();
            };
            match self.delivered(delivered) {
                Progress::Advanced(offsets) | Progress::Relocate(offsets) => offsets,
                Progress::Unchanged | Progress::Lost => Vec::new(),
            }
        }
        .boxed()
    }
}
