//! A session whose rows wait in Redis: puts there what is read, and flushes if that is not left to `formline flush`. What
//! Redis loses is found out at the next put, and read from Kafka again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use formline_core::{
    EventId, Record,
    app::{Buffer, Sheets},
    event,
    record::Partition,
    retry::Backoff,
    telemetry::Part,
};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::time::Instant;

use super::{
    delivery::Tab,
    flusher::{Flush, Flusher},
    following::Following,
    in_memory::end,
    kafka::Upstream,
    mark::{Known, Positions},
    offsets::Offsets,
    puts::{self, Ended},
    row::{self, Row},
    session::{Happened, Session, Settled},
    waiting::{Begin, Put, Waiting},
};
use crate::{Error, parking::Letter, run::Common};

/// Partitions whose rows go to Redis.
pub(crate) struct ThroughRedis {
    sink: String,
    part: Part,
    /// Names this session's filling.
    fill: String,
    /// What the sheet held when the session began: it is not put again.
    known: Positions,
    /// Which tab that is, as `began` of its mark says.
    tab: i64,
    waiting: Waiting,
    following: Following,
    reads: BTreeMap<Partition, Read>,
    pending: Pending,
    /// Times of submissions for which it is not known yet that all earlier ones have come.
    undue: BTreeSet<i64>,
    /// Until when everything has come, in microseconds since 1970, and what Redis was told of it.
    due: Option<i64>,
    told_due: Option<i64>,
    put: Option<BoxFuture<'static, Ended>>,
    next_check: Instant,
    generation: u64,
    /// Rows that wait in Redis, as the last put has told.
    count: usize,
    /// None while it flushes, and always if a job does.
    flusher: Option<Box<Flusher>>,
    flush: Option<BoxFuture<'static, Flushed>>,
    flush_interval: Duration,
    next_flush: Instant,
    /// Waiting times while Redis is away, or Google refuses whatever it is given.
    refusals: Backoff,
    letters: Vec<Letter>,
    /// Letters that are not in Kafka yet. Until they are, Redis is told nothing, or they would count as done with.
    unparked: usize,
}

/// How far one partition was read.
#[derive(Debug)]
struct Read {
    next: i64,
    /// What Redis was told of it.
    told: i64,
    /// Where a new owner would begin.
    low: i64,
    rows: Vec<Row>,
    has_begun: bool,
    /// A record was taken since the session began.
    has_read: bool,
}

/// What was read and is not on its way to Redis.
#[derive(Debug, Default)]
struct Pending {
    rows: usize,
    bytes: usize,
}

/// How a flush has ended.
#[derive(Debug)]
pub(crate) struct Flushed {
    flusher: Box<Flusher>,
    flush: Result<Flush, Error>,
}

/// Times that are kept while no stage before the sink gets on. At the bound the earliest is forgotten: its row is due when it
/// was held back for long enough, or with the next one.
const UNDUE: usize = 1_000_000;

/// Rows that were read and are not on their way to Redis, and their bytes. At either bound reading pauses. As much again may
/// be on its way, while Redis is away for instance.
const MAX_ROWS: usize = 5_000;
const MAX_BYTES: usize = 32 << 20;

/// Between two puts without news, which ask whether Redis still has what it had.
const CHECK: Duration = Duration::from_secs(1);

// === impl ThroughRedis ===

impl ThroughRedis {
    pub(crate) fn new(
        known: &Known,
        tab: Tab,
        upstream: Upstream,
        waiting: Waiting,
        common: &Common,
        settings: &Sheets,
    ) -> Self {
        let parking = common.parking.clone();
        let flushes = matches!(settings.buffer, Buffer::Redis { flushes: true, .. });
        let now = Instant::now();
        Self {
            sink: tab.sink.clone(),
            part: common.part.clone(),
            fill: EventId::new().to_string(),
            tab: known.mark.began,
            known: known.mark.positions.clone(),
            waiting: waiting.clone(),
            following: Following::new(&tab.sink, upstream.clone(), settings.grace),
            reads: BTreeMap::new(),
            pending: Pending::default(),
            undue: BTreeSet::new(),
            due: None,
            told_due: None,
            put: None,
            next_check: now,
            generation: waiting.generation(),
            count: 0,
            flusher: flushes
                .then(|| Box::new(Flusher::new(tab, upstream, waiting, parking, settings))),
            flush: None,
            flush_interval: settings.flush_interval,
            next_flush: now,
            refusals: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            letters: Vec::new(),
            unparked: 0,
        }
    }

    /// The partition, from where the sheet ends, or from `offset` on if the sheet knows nothing of it.
    fn read(&mut self, partition: &Partition, offset: i64) -> &mut Read {
        let low = self.known.get(partition).map(Offsets::low);
        let start = low.unwrap_or(offset);
        let read = self.reads.entry(partition.clone());
        read.or_insert_with(|| Read {
            next: start,
            told: start,
            low: start,
            rows: Vec::new(),
            has_begun: false,
            has_read: false,
        })
    }

    /// Tells Redis what is new, or asks it from time to time.
    fn start_put(&mut self) {
        let has_news = self.told_due != self.due
            || self.generation != self.waiting.generation()
            || self.reads.values().any(|read| read.next != read.told);
        let is_due = has_news || Instant::now() >= self.next_check;
        if self.put.is_some() || self.unparked > 0 || self.reads.is_empty() || !is_due {
            return;
        }
        self.told_due = self.due;
        self.generation = self.waiting.generation();
        self.next_check = Instant::now() + CHECK;
        let mut puts = Vec::new();
        for (partition, read) in &mut self.reads {
            let begin = (!read.has_begun).then(|| Begin {
                partition: partition.clone(),
                fill: self.fill.clone(),
                start: read.told,
                tab: self.tab,
            });
            let put = Put {
                partition: partition.clone(),
                fill: self.fill.clone(),
                expected: read.told,
                next: read.next,
                due: self.due,
                rows: std::mem::take(&mut read.rows),
            };
            (read.told, read.has_begun) = (read.next, true);
            puts.push((begin, puts::split(put)));
        }
        self.pending = Pending::default();
        let (waiting, part, sink) = (self.waiting.clone(), self.part.clone(), self.sink.clone());
        self.put = Some(puts::put_all(waiting, part, sink, puts).boxed());
    }

    fn start_flush(&mut self) {
        if Instant::now() < self.next_flush {
            return;
        }
        if let Some(mut flusher) = self.flusher.take() {
            self.next_flush = Instant::now() + self.flush_interval;
            let work = async move {
                let flush = flusher.flush().await;
                Flushed { flusher, flush }
            };
            self.flush = Some(work.boxed());
        }
    }

    fn put_ended(&mut self, ended: Ended) -> Result<Settled, Error> {
        let Some((lows, count)) = ended? else {
            tracing::warn!(sink = self.sink, "reading again what redis does not have");
            return Ok(Settled::Lost);
        };
        self.count = count;
        for (partition, low) in lows {
            if let Some(read) = self.reads.get_mut(&partition) {
                read.low = read.low.max(low);
            }
        }
        Ok(Settled::Written)
    }

    fn flushed(&mut self, flushed: Flushed) -> Result<Settled, Error> {
        let Flushed { flusher, flush } = flushed;
        for (partition, read) in &mut self.reads {
            read.low = flusher
                .low(partition)
                .map_or(read.low, |low| low.max(read.low));
        }
        self.flusher = Some(flusher);
        let why = match flush? {
            Flush::Written(_) | Flush::Shutdown => {
                self.refusals.reset();
                return Ok(Settled::Written);
            }
            Flush::Refused(why) => why,
            Flush::Away(away) => away.to_string(),
        };
        let wait = self.refusals.delay();
        tracing::warn!(sink = self.sink, why, ?wait, "rows wait in redis");
        self.next_flush = Instant::now() + wait;
        Ok(Settled::Nothing)
    }
}

impl Session for ThroughRedis {
    fn low(&self, partition: &Partition) -> Option<i64> {
        self.reads.get(partition).map(|read| read.low)
    }

    fn buffered(&self) -> usize {
        self.count + self.pending.rows
    }

    fn is_draining(&self) -> bool {
        self.pending.is_full()
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
        match row::cells(record.value().unwrap_or_default()) {
            Ok(cells) => {
                let row = Row::new(record, cells);
                let (time, bytes) = (row.key.time, row.size());
                read.rows.push(row);
                self.pending.add(bytes);
                if self.due.is_none_or(|due| time > due) {
                    self.undue.insert(time);
                    if self.undue.len() > UNDUE {
                        self.undue.pop_first();
                    }
                }
            }
            Err(why) => {
                self.unparked += 1;
                self.letters.push(Letter {
                    record,
                    reason: "malformed".into(),
                    detail: why.to_string(),
                    attempts: 1,
                });
            }
        }
    }

    fn letters(&mut self) -> Vec<Letter> {
        std::mem::take(&mut self.letters)
    }

    fn parked(&mut self, _: &Record) {
        self.unparked -= 1;
    }

    fn advance(&mut self, assigned: &[Partition], read: &[(Partition, i64)]) -> Result<(), Error> {
        for partition in assigned {
            if let Some(low) = self.known.get(partition).map(Offsets::low) {
                self.read(partition, low);
            }
        }
        let reads = &mut self.reads;
        for (partition, next) in read {
            // Before the first record after a seek, Kafka's client may still tell the position from before it, and what
            // lies before `next` counts as done with.
            if let Some(read) = reads.get_mut(partition).filter(|read| read.has_read) {
                read.next = read.next.max(*next);
            }
        }
        let next = |partition: &Partition| {
            let position = read.iter().find(|(known, _)| known == partition);
            let taken = reads.get(partition).map(|read| read.next);
            position.map(|(_, next)| *next).max(taken)
        };
        if let Some(time) = self.following.complete_until(assigned, next) {
            self.due = self.due.max(Some(time));
            self.undue = self.undue.split_off(&time.saturating_add(1));
        }
        // Also for rows of other processes: they wait for the time until which our partitions have been read.
        let others = (self.count > 0).then(|| self.due.unwrap_or_default());
        let waiting = self.undue.first().copied().or(others);
        self.following.chase_for(waiting);
        self.start_put();
        self.start_flush();
        Ok(())
    }

    fn happened(&mut self) -> BoxFuture<'_, Happened> {
        let Self {
            put,
            flush,
            following,
            ..
        } = self;
        async {
            tokio::select! {
                ended = end(put) => Happened::Put(ended),
                flushed = end(flush) => Happened::Flushed(Box::new(flushed)),
                chased = following.ended() => Happened::Chased(chased),
            }
        }
        .boxed()
    }

    fn settle(&mut self, happened: Happened) -> Result<Settled, Error> {
        match happened {
            Happened::Put(ended) => self.put_ended(ended),
            Happened::Flushed(flushed) => self.flushed(*flushed),
            Happened::Chased(chased) => {
                self.following.settle(chased);
                Ok(Settled::Nothing)
            }
            Happened::Delivered(_) => Ok(Settled::Nothing),
        }
    }

    fn finish(&mut self) -> BoxFuture<'_, Settled> {
        async {
            if self.flush.is_none() {
                return Settled::Nothing;
            }
            let flushed = end(&mut self.flush).await;
            self.flushed(flushed).unwrap_or(Settled::Nothing)
        }
        .boxed()
    }
}

impl std::fmt::Debug for ThroughRedis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThroughRedis")
            .field("reads", &self.reads)
            .finish_non_exhaustive()
    }
}

// === impl Pending ===

impl Pending {
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
    fn many_rows_and_large_ones_make_reading_pause() {
        for (rows, bytes) in [(MAX_ROWS, 1), (MAX_BYTES >> 20, 1 << 20)] {
            let mut pending = Pending::default();
            for _ in 0..rows {
                assert!(!pending.is_full());
                pending.add(bytes);
            }
            assert!(pending.is_full());
        }
    }
}
