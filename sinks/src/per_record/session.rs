//! The task of a sink that delivers records one by one and keeps a journal: reads its topics, and works on the first records
//! of each partition that are due.

mod lane;

use std::{collections::BTreeMap, future::pending, sync::Arc, time::Duration};

use formline_core::{Consumer, Record, consumer::Polled, record::Partition, retry::Backoff};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::lane::Lane;
use crate::{
    Error,
    attempt::Attempt,
    books::Books,
    journal::{Entry, Noted, Past},
    rejoin::Rejoin,
    run::{Common, Work},
};

/// How a kind of sink delivers one record.
pub(crate) trait Desk: Send + Sync {
    /// Where it notes what it does.
    fn books(&self) -> &Books;

    /// How far back it must know its own entries, whatever lies behind its offsets.
    fn memory(&self) -> Duration {
        Duration::ZERO
    }

    /// Takes the entries of that time, oldest first.
    fn recall(&self, _: &[Noted]) {}

    /// How many records of one partition it works on at one time.
    fn in_flight(&self) -> usize {
        1
    }

    /// Makes an attempt that is due. `past` is what counts of what was noted about the record. Waits for as long as the
    /// other side is away, but not longer than `stop`.
    fn deliver<'a>(
        &'a self,
        attempt: &'a Attempt,
        past: Option<&'a Entry>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<End, Error>>;
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// The sink is done with the record.
    Done,
    /// It was told to stop; the next owner of the partition begins where the journal ends.
    Stopped,
}

/// What the task of one sink works with.
struct Worker {
    common: Common,
    desk: Arc<dyn Desk>,
}

/// One membership in the consumer group.
struct Membership<'a> {
    worker: &'a Worker,
    consumer: Consumer,
    lanes: BTreeMap<Partition, Lane>,
    /// What the journal says of records that are still to come.
    past: Past,
    reading: Option<Reading>,
    /// Also those of partitions that are not ours any more, until they have ended.
    deliveries: FuturesUnordered<BoxFuture<'static, Delivered>>,
    /// Ends the waiting of deliveries when the partitions go.
    stop: CancellationToken,
    /// When deliveries of partitions that went are cut off.
    cut: Instant,
}

type Reading = BoxFuture<'static, Result<Past, Error>>;

/// A record that a delivery has ended for.
type Delivered = (Partition, i64, Result<End, Error>);

enum Event {
    Read(Result<Past, Error>),
    Delivered(Delivered),
}

/// Between two looks at Kafka. librdkafka fetches in the background, so it bounds only the delay.
const POLL: Duration = Duration::from_millis(20);

/// Records of one look.
const BURST: usize = 500;

/// Records that wait in one lane; at the bound its partition is not read, and membership goes on. If all of them are due
/// later than one behind them, as after a change of the schedule, that one waits with them.
const WAITING: usize = 100;

/// How long deliveries under way are waited for when the sink stops or its partitions go. Those that are cut off are made
/// again.
const GRACE: Duration = Duration::from_secs(10);

/// The work of a sink that delivers records in this way.
pub(crate) fn work(common: Common, desk: impl Desk + 'static) -> (Common, Work) {
    let worker = Worker {
        common: common.clone(),
        desk: Arc::new(desk),
    };
    (common, Box::pin(worker.run()))
}

// === impl Worker ===

impl Worker {
    /// Works until the shutdown begins or a person must act.
    async fn run(self) -> Result<(), Error> {
        let mut rejoin = Rejoin::new(&self.common);
        while rejoin.is_wanted() {
            let consumer = rejoin.join(self.common.sink.topics())?;
            let mut membership = Membership::new(&self, consumer);
            let ended = membership.work().await;
            membership.leave().await;
            rejoin.after(ended).await?;
        }
        Ok(())
    }

    /// Reads the journal, for as long as Kafka is away.
    fn read(&self, next: Vec<(Partition, Option<i64>)>) -> Reading {
        let (journal, part) = (self.desk.books().journal.clone(), self.common.part.clone());
        let (memory, sink) = (self.desk.memory(), self.common.sink.group());
        Box::pin(async move {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
            loop {
                match journal.read(next.clone(), memory).await {
                    Err(Error::Client(error)) => {
                        tracing::warn!(%error, sink, "the journal cannot be read yet");
                        part.waiting(error.to_string());
                    }
                    read => return read,
                }
                tokio::time::sleep(backoff.delay()).await;
            }
        })
    }
}

// === impl Membership ===

impl<'a> Membership<'a> {
    fn new(worker: &'a Worker, consumer: Consumer) -> Self {
        Self {
            worker,
            consumer,
            lanes: BTreeMap::new(),
            past: Past::default(),
            reading: None,
            deliveries: FuturesUnordered::new(),
            stop: CancellationToken::new(),
            cut: Instant::now(),
        }
    }

    async fn work(&mut self) -> Result<(), Error> {
        loop {
            let event = tokio::select! {
                // A journal that was read during a shutdown may not be whole.
                biased;
                () = self.worker.common.shutdown.begun() => return Ok(()),
                event = next(&mut self.reading, &mut self.deliveries) => Some(event),
                () = tokio::time::sleep(POLL) => None,
            };
            match event {
                Some(Event::Read(past)) => self.begin(past?),
                Some(Event::Delivered(delivered)) => self.settle(delivered)?,
                None => {}
            }
            if self.reading.is_some() && Instant::now() >= self.cut {
                self.deliveries.clear();
            }
            self.poll()?;
            self.advance()?;
        }
    }

    /// Finishes the deliveries under way and goes.
    async fn leave(mut self) {
        self.stop.cancel();
        let deliveries = &mut self.deliveries;
        let mut ended = Vec::new();
        let finish = async {
            while let Some((partition, offset, end)) = deliveries.next().await {
                ended.extend(matches!(end, Ok(End::Done)).then_some((partition, offset)));
            }
        };
        // What has not ended by then is cut off.
        let _ = tokio::time::timeout(GRACE, finish).await;
        for (partition, offset) in ended {
            let lane = self.lanes.get_mut(&partition);
            let next = lane.and_then(|lane| lane.finish(offset));
            let next: Vec<_> = next.map(|next| (partition, next)).into_iter().collect();
            commit(&self.consumer, &next);
        }
        self.worker.common.parking.metrics.buffered(0);
        let consumer = self.consumer;
        // Leaving asks the brokers, which blocks the thread.
        let left = tokio::task::spawn_blocking(move || drop(consumer)).await;
        left.expect("dropping a consumer does not panic");
    }

    /// Takes what Kafka has brought.
    fn poll(&mut self) -> Result<(), Error> {
        for _ in 0..BURST {
            match self.consumer.poll(Duration::ZERO)? {
                Polled::Record(record) => self.take(record)?,
                Polled::Assigned(partitions) => self.assigned(partitions)?,
                Polled::Revoked(_) => self.revoked(),
                Polled::Idle => break,
            }
        }
        Ok(())
    }

    fn take(&mut self, record: Record) -> Result<(), Error> {
        let Some(lane) = self.lanes.get_mut(&record.partition) else {
            return Ok(());
        };
        let partition = record.partition.clone();
        lane.read = record.offset + 1;
        lane.waiting.push_back(Attempt::of(record));
        if lane.waiting.len() >= WAITING && !lane.is_paused {
            lane.is_paused = true;
            self.consumer.pause(&[partition], true)?;
        }
        Ok(())
    }

    /// Reads the journal first. Reading records waits, membership goes on.
    fn assigned(&mut self, partitions: Vec<Partition>) -> Result<(), Error> {
        self.revoked();
        let part = &self.worker.common.part;
        if partitions.is_empty() {
            // Other processes have them.
            part.ready();
            return Ok(());
        }
        part.waiting("reading its journal");
        self.consumer.pause(&partitions, true)?;
        let committed: BTreeMap<Partition, i64> = self.consumer.committed()?.into_iter().collect();
        let next = (partitions.iter())
            .map(|partition| (partition.clone(), committed.get(partition).copied()));
        self.reading = Some(self.worker.read(next.collect()));
        for partition in partitions {
            let done = committed.get(&partition).copied().unwrap_or_default();
            let lane = Lane {
                is_paused: true,
                read: done,
                done,
                ..Lane::default()
            };
            self.lanes.insert(partition, lane);
        }
        Ok(())
    }

    /// Forgets everything: it is the next owner's. Deliveries under way have some time to end, since nobody knows what comes
    /// of one that is cut off; if the next owner is another process, it may make them once more.
    fn revoked(&mut self) {
        self.stop.cancel();
        self.stop = CancellationToken::new();
        self.cut = Instant::now() + GRACE;
        self.lanes.clear();
        self.past = Past::default();
        self.reading = None;
        self.worker.common.parking.metrics.buffered(0);
    }

    fn begin(&mut self, mut past: Past) {
        self.reading = None;
        self.worker.desk.recall(&past.recent());
        self.past = past;
        let (sink, partitions) = (self.worker.common.sink.group(), self.lanes.len());
        tracing::info!(sink, partitions, "delivering");
        self.worker.common.part.ready();
    }

    fn settle(&mut self, (partition, offset, end): Delivered) -> Result<(), Error> {
        if end? == End::Stopped {
            return Ok(());
        }
        // Whatever a partition that went and came back is at: it begins at its committed offset.
        let lane = self.lanes.get_mut(&partition);
        if let Some(next) = lane.and_then(|lane| lane.finish(offset)) {
            commit(&self.consumer, &[(partition, next)]);
        }
        Ok(())
    }

    /// Begins what can begin: not before the journal is read.
    fn advance(&mut self) -> Result<(), Error> {
        if self.reading.is_some() {
            return Ok(());
        }
        let (desk, now) = (&self.worker.desk, Timestamp::now());
        let mut buffered = 0;
        for (partition, lane) in &mut self.lanes {
            if lane.is_paused && lane.waiting.len() < WAITING / 2 {
                lane.is_paused = false;
                self.consumer
                    .pause(std::slice::from_ref(partition), false)?;
            }
            while let Some(attempt) = lane.begin(desk.in_flight(), now) {
                let past = self.past.of(&attempt);
                let delivery = deliver(Arc::clone(desk), attempt, past, self.stop.clone());
                self.deliveries.push(Box::pin(delivery));
            }
            buffered += lane.waiting.len() + lane.busy.len();
        }
        self.worker.common.parking.metrics.buffered(buffered);
        self.commit_empty()
    }

    /// Where nothing waits, control records behind the last record are done, too.
    fn commit_empty(&mut self) -> Result<(), Error> {
        let mut beyond = Vec::new();
        for (partition, next) in self.consumer.positions()? {
            if let Some(lane) = self.lanes.get_mut(&partition)
                && lane.busy.is_empty()
                && lane.waiting.is_empty()
                && next > lane.done
            {
                (lane.read, lane.done) = (next, next);
                beyond.push((partition, next));
            }
        }
        commit(&self.consumer, &beyond);
        Ok(())
    }
}

async fn deliver(
    desk: Arc<dyn Desk>,
    attempt: Attempt,
    past: Option<Entry>,
    stop: CancellationToken,
) -> Delivered {
    let end = desk.deliver(&attempt, past.as_ref(), &stop).await;
    (attempt.partition, attempt.offset, end)
}

/// The journal is read only when the deliveries of an earlier assignment have ended: their entries belong to it. Cancel
/// safe.
async fn next(
    reading: &mut Option<Reading>,
    deliveries: &mut FuturesUnordered<BoxFuture<'static, Delivered>>,
) -> Event {
    if let Some(delivered) = deliveries.next().await {
        return Event::Delivered(delivered);
    }
    match reading {
        Some(reading) => Event::Read(reading.await),
        None => pending().await,
    }
}

/// A commit that fails is made up for by the next; what it would have said the journal says as well.
fn commit(consumer: &Consumer, next: &[(Partition, i64)]) {
    if next.is_empty() {
        return;
    }
    if let Err(error) = consumer.commit(next) {
        tracing::warn!(%error, "offsets were not committed");
    }
}
