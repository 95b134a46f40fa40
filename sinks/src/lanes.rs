//! The task of a sink that delivers records one by one and keeps a journal: reads its topics, and works on the first records
//! of each partition. A record that cannot be delivered yet holds up those behind it in its partition, and no others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
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

use crate::{
    Error,
    journal::{self, Entry, Journal, Noted},
    run::Common,
};

/// How a kind of sink delivers one record.
pub(crate) trait Desk: Send + Sync {
    /// Where it notes what it does.
    fn journal(&self) -> &Journal;

    /// How far back it must know its own entries, whatever lies behind its offsets.
    fn memory(&self) -> Duration {
        Duration::ZERO
    }

    /// Takes the entries that the journal has, oldest first for each record.
    fn recall(&self, _: &VecDeque<Noted>) {}

    /// How many records of one partition it works on at one time.
    fn in_flight(&self) -> usize {
        1
    }

    /// Delivers a record. `past` is what was last noted about it. Waits for as long as the other side is away, but not
    /// longer than `stop`.
    fn deliver<'a>(
        &'a self,
        record: &'a Record,
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
pub(crate) struct Worker {
    pub(crate) common: Common,
    pub(crate) desk: Arc<dyn Desk>,
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
    /// Offsets that a delivery is under way for.
    busy: BTreeSet<i64>,
    is_paused: bool,
    /// Behind the last record that a delivery was begun for, or that needs none.
    begun: i64,
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

/// How long a stopping sink waits for deliveries under way. Those that are cut off are made again.
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
        let (journal, part) = (self.desk.journal().clone(), self.common.part.clone());
        let memory = self.desk.memory();
        let sink = self.common.sink.group();
        Box::pin(async move {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
            loop {
                match journal.read(next.clone(), memory).await {
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
            topics: sink.topics(),
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
            let done = committed.get(&partition).copied().unwrap_or_default();
            let lane = Lane {
                is_paused: true,
                begun: done,
                done,
                ..Lane::default()
            };
            self.lanes.insert(partition, lane);
        }
        Ok(())
    }

    /// Forgets everything: it is the next owner's. Deliveries under way are not cut off, since nobody would know what came
    /// of them; if the next owner is another process, it may make them once more.
    fn revoked(&mut self) {
        self.stop.cancel();
        self.stop = CancellationToken::new();
        self.lanes.clear();
        self.past.clear();
        self.reading = None;
        self.worker.common.parking.metrics.buffered(0);
    }

    fn begin(&mut self, entries: VecDeque<Noted>) -> Result<(), Error> {
        self.reading = None;
        self.worker.desk.recall(&entries);
        self.past = journal::last(entries);
        let (sink, partitions) = (self.worker.common.sink.group(), self.lanes.len());
        tracing::info!(sink, partitions, "delivering");
        self.worker.common.part.ready();
        Ok(())
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
        let desk = &self.worker.desk;
        let mut buffered = 0;
        for (partition, lane) in &mut self.lanes {
            if lane.is_paused && lane.waiting.len() < WAITING / 2 {
                lane.is_paused = false;
                self.consumer
                    .pause(std::slice::from_ref(partition), false)?;
            }
            while let Some(record) = lane.begin(desk.in_flight()) {
                let past = self.past.remove(&event::identity(&record));
                let delivery = deliver(Arc::clone(desk), record, past, self.stop.clone());
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
                (lane.begun, lane.done) = (next, next);
                beyond.push((partition, next));
            }
        }
        commit(&self.consumer, &beyond);
        Ok(())
    }
}

// === impl Lane ===

impl Lane {
    /// The next record to deliver, if fewer than `limit` are under way.
    fn begin(&mut self, limit: usize) -> Option<Record> {
        let record = (self.waiting).pop_front_if(|_| self.busy.len() < limit)?;
        self.busy.insert(record.offset);
        self.begun = record.offset + 1;
        Some(record)
    }

    /// A delivery has ended. Where the partition goes on, if that is further than before; none also if the delivery
    /// belongs to an earlier time when the partition was ours.
    fn finish(&mut self, offset: i64) -> Option<i64> {
        if !self.busy.remove(&offset) {
            return None;
        }
        let next = self.busy.first().copied().unwrap_or(self.begun);
        (next > self.done).then(|| {
            self.done = next;
            next
        })
    }
}

async fn deliver(
    desk: Arc<dyn Desk>,
    record: Record,
    past: Option<Entry>,
    stop: CancellationToken,
) -> Delivered {
    let end = desk.deliver(&record, past.as_ref(), &stop).await;
    (record.partition, record.offset, end)
}

/// The journal is read only when the deliveries of an earlier assignment have ended: their entries belong to it. Cancel
/// safe.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64) -> Record {
        let partition = Partition {
            topic: "topic".into(),
            number: 0,
        };
        Record::new(partition, offset, 0, None, None, &[])
    }

    #[test]
    fn a_partition_goes_on_behind_what_has_ended_without_a_gap() {
        let mut lane = Lane {
            waiting: [3, 4, 7, 8].map(record).into(),
            begun: 3,
            done: 3,
            ..Lane::default()
        };
        let offset = |record: Option<Record>| record.map(|record| record.offset);
        assert_eq!(offset(lane.begin(3)), Some(3));
        assert_eq!(offset(lane.begin(3)), Some(4));
        assert_eq!(offset(lane.begin(3)), Some(7));
        assert_eq!(offset(lane.begin(3)), None);
        assert_eq!(lane.finish(4), None);
        assert_eq!(lane.finish(3), Some(7));
        assert_eq!(lane.finish(3), None, "it had ended");
        assert_eq!(offset(lane.begin(3)), Some(8));
        assert_eq!(lane.finish(8), None);
        assert_eq!(lane.finish(7), Some(9));
    }
}
