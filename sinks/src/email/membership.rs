//! The task of one sink: reads its topics, and sends for each partition one mail at a time. A mail that the server does
//! not take yet holds up those behind it in its partition, and no others.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::pending,
    sync::Arc,
    time::Duration,
};

use formline_core::{
    Consumer, Record,
    consumer::{self, Polled},
    event,
    record::Partition,
    retry::Backoff,
};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    delivery::{Desk, End},
    limit::HOUR,
};
use crate::{
    Error,
    journal::{Entry, Noted},
    run::Common,
};

/// What the task of one sink works with.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) common: Common,
    pub(crate) desk: Arc<Desk>,
}

/// One membership in the consumer group.
struct Membership<'a> {
    worker: &'a Worker,
    consumer: Consumer,
    lanes: BTreeMap<Partition, Lane>,
    /// What the journal says of records that are still to come.
    past: HashMap<Vec<u8>, Entry>,
    reading: Option<BoxFuture<'static, VecDeque<Noted>>>,
    /// Also those of partitions that are not ours any more, until they have ended.
    deliveries: FuturesUnordered<BoxFuture<'static, Delivered>>,
    /// Ends the waiting of deliveries when the partitions go.
    stop: CancellationToken,
}

/// The records of one partition.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Record>,
    is_busy: bool,
    is_paused: bool,
    /// Where the partition goes on, as far as it is done.
    done: i64,
}

/// A record that a delivery has ended for.
type Delivered = (Partition, i64, Result<End, Error>);

enum Event {
    Read(VecDeque<Noted>),
    Delivered(Delivered),
}

/// Between two looks at Kafka. librdkafka fetches in the background, so it bounds only the delay.
const POLL: Duration = Duration::from_millis(20);

/// Records of one look.
const BURST: usize = 500;

/// Records that wait in one lane; at the bound its partition is not read, and membership goes on.
const WAITING: usize = 100;

/// How long a stopping sink waits for mails under way. Those that are cut off are sent again.
const GRACE: Duration = Duration::from_secs(10);

/// A membership that has lasted so long was healthy; the next one is not waited for as if it had failed at once.
const HEALTHY: Duration = Duration::from_secs(60);

// === impl Worker ===

impl Worker {
    /// Works until the shutdown begins or a person must act.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let shutdown = &self.common.shutdown;
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        while !shutdown.has_begun() {
            let joined = Instant::now();
            let mut membership = Membership::join(&self)?;
            let ended = membership.work().await;
            membership.leave().await;
            let Err(Error::Consumer(error @ consumer::Error::Failed(_))) = ended else {
                return ended;
            };
            if joined.elapsed() >= HEALTHY {
                backoff.reset();
            }
            tracing::warn!(%error, sink = self.common.sink.group(), "joining the group anew");
            tokio::select! {
                () = shutdown.begun() => {}
                () = tokio::time::sleep(backoff.delay()) => {}
            }
        }
        Ok(())
    }

    /// Reads the journal, for as long as Kafka is away.
    fn read(&self, next: Vec<(Partition, Option<i64>)>) -> BoxFuture<'static, VecDeque<Noted>> {
        let (journal, part) = (self.desk.journal.clone(), self.common.part.clone());
        let sink = self.common.sink.group();
        Box::pin(async move {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
            loop {
                match journal.read(next.clone(), HOUR).await {
                    Ok(entries) => return entries,
                    Err(error) => {
                        tracing::warn!(%error, sink, "the journal cannot be read yet");
                        part.waiting(error.to_string());
                    }
                }
                tokio::time::sleep(backoff.delay()).await;
            }
        })
    }
}

// === impl Membership ===

impl<'a> Membership<'a> {
    fn join(worker: &'a Worker) -> Result<Self, Error> {
        let Common {
            sink,
            client,
            member,
            ..
        } = &worker.common;
        let options = consumer::Options {
            group: sink.group(),
            member: member.clone(),
            topics: sink.input.clone(),
        };
        Ok(Self {
            worker,
            consumer: Consumer::join(client, &options)?,
            lanes: BTreeMap::new(),
            past: HashMap::new(),
            reading: None,
            deliveries: FuturesUnordered::new(),
            stop: CancellationToken::new(),
        })
    }

    async fn work(&mut self) -> Result<(), Error> {
        loop {
            let event = tokio::select! {
                () = self.worker.common.shutdown.begun() => return Ok(()),
                event = next(&mut self.reading, &mut self.deliveries) => Some(event),
                () = tokio::time::sleep(POLL) => None,
            };
            match event {
                Some(Event::Read(entries)) => self.begin(entries)?,
                Some(Event::Delivered(delivered)) => self.settle(delivered)?,
                None => {}
            }
            self.poll()?;
            self.advance()?;
        }
    }

    /// Finishes the mails under way and goes.
    async fn leave(mut self) {
        self.stop.cancel();
        let deliveries = &mut self.deliveries;
        let ended = async {
            let mut ended = Vec::new();
            while let Some((partition, next, end)) = deliveries.next().await {
                ended.extend(matches!(end, Ok(End::Done)).then_some((partition, next)));
            }
            ended
        };
        if let Ok(ended) = tokio::time::timeout(GRACE, ended).await {
            let ours = ended.into_iter();
            let ours: Vec<_> = ours.filter(|(at, _)| self.lanes.contains_key(at)).collect();
            commit(&self.consumer, &ours);
        }
        self.worker.desk.metrics.common.buffered(0);
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
        lane.waiting.push_back(record);
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
            let lane = Lane {
                is_paused: true,
                done: committed.get(&partition).copied().unwrap_or_default(),
                ..Lane::default()
            };
            self.lanes.insert(partition, lane);
        }
        Ok(())
    }

    /// Forgets everything: it is the next owner's. Mails under way are not cut off, since nobody would know what came of
    /// them; if the next owner is another process, it may send them once more.
    fn revoked(&mut self) {
        self.stop.cancel();
        self.stop = CancellationToken::new();
        self.lanes.clear();
        self.past.clear();
        self.reading = None;
        self.worker.desk.metrics.common.buffered(0);
    }

    fn begin(&mut self, entries: VecDeque<Noted>) -> Result<(), Error> {
        self.reading = None;
        self.worker.desk.limits.recall(&entries);
        // The last entry about a record wins.
        let past = entries.into_iter().map(|noted| (noted.id, noted.entry));
        self.past = past.collect();
        let (sink, partitions) = (self.worker.common.sink.group(), self.lanes.len());
        tracing::info!(sink, partitions, "sending e-mails");
        self.worker.common.part.ready();
        Ok(())
    }

    fn settle(&mut self, (partition, next, end): Delivered) -> Result<(), Error> {
        if end? == End::Stopped {
            return Ok(());
        }
        // Whatever a partition that went and came back is at: it begins at its committed offset.
        if let Some(lane) = self.lanes.get_mut(&partition).filter(|lane| lane.is_busy) {
            lane.is_busy = false;
            lane.done = next;
            commit(&self.consumer, &[(partition, next)]);
        }
        Ok(())
    }

    /// Begins what can begin: not before the journal is read.
    fn advance(&mut self) -> Result<(), Error> {
        if self.reading.is_some() {
            return Ok(());
        }
        let mut buffered = 0;
        for (partition, lane) in &mut self.lanes {
            if lane.is_paused && lane.waiting.len() < WAITING / 2 {
                lane.is_paused = false;
                self.consumer
                    .pause(std::slice::from_ref(partition), false)?;
            }
            if let Some(record) = lane.waiting.pop_front_if(|_| !lane.is_busy) {
                lane.is_busy = true;
                let past = self.past.remove(&event::identity(&record));
                let delivery = deliver(
                    Arc::clone(&self.worker.desk),
                    record,
                    past,
                    self.stop.clone(),
                );
                self.deliveries.push(Box::pin(delivery));
            }
            buffered += lane.waiting.len() + usize::from(lane.is_busy);
        }
        self.worker.desk.metrics.common.buffered(buffered);
        self.commit_empty()
    }

    /// Where nothing waits, control records behind the last record are done, too.
    fn commit_empty(&mut self) -> Result<(), Error> {
        let mut beyond = Vec::new();
        for (partition, next) in self.consumer.positions()? {
            if let Some(lane) = self.lanes.get_mut(&partition)
                && !lane.is_busy
                && lane.waiting.is_empty()
                && next > lane.done
            {
                lane.done = next;
                beyond.push((partition, next));
            }
        }
        commit(&self.consumer, &beyond);
        Ok(())
    }
}

async fn deliver(
    desk: Arc<Desk>,
    record: Record,
    past: Option<Entry>,
    stop: CancellationToken,
) -> Delivered {
    let end = desk.deliver(&record, past.as_ref(), &stop).await;
    (record.partition, record.offset + 1, end)
}

/// The journal is read only when the mails of an earlier assignment have ended: their entries belong to it. Cancel safe.
async fn next(
    reading: &mut Option<BoxFuture<'static, VecDeque<Noted>>>,
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
