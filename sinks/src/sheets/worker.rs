//! The task of one sink: reads its topics, keeps one session with the tab while it owns partitions, and stops only
//! for what a person must mend.

use std::{collections::HashMap, future::pending, time::Duration};

use formline_core::{Consumer, Record, app::Sheets, consumer::Polled, record::Partition};
use futures::future::BoxFuture;

use super::{
    delivery::Tab,
    in_memory::InMemory,
    kafka::Upstream,
    mark::Known,
    offsets::Offsets,
    session::{Happened, Session, Settled},
    through_redis::ThroughRedis,
    waiting::Waiting,
};
use crate::{Error, rejoin::Rejoin, run::Common};

/// What the task of one sink works with.
pub(crate) struct Worker {
    pub(crate) common: Common,
    pub(crate) settings: Sheets,
    pub(crate) tab: Tab,
    pub(crate) upstream: Upstream,
    /// Where rows wait, if that is Redis.
    pub(crate) waiting: Option<Waiting>,
}

/// One membership in the consumer group.
struct Membership<'a> {
    worker: &'a Worker,
    consumer: Consumer,
    partitions: Vec<Partition>,
    /// The first offset that was read of each partition. The mark knows nothing of a partition without rows.
    first: HashMap<Partition, i64>,
    phase: Phase,
    paused: bool,
}

enum Phase {
    /// No partition is ours.
    Idle,
    /// Partitions are ours; where to begin is to be read from the sheet.
    Finding(BoxFuture<'static, Result<Known, Error>>),
    Writing(Box<dyn Session>),
}

enum Event {
    Found(Result<Known, Error>),
    Session(Happened),
}

/// Between two looks at Kafka. librdkafka fetches in the background, so it bounds only the delay.
const POLL: Duration = Duration::from_millis(20);

/// After a full look there is more; others get their turn in between.
const BUSY_POLL: Duration = Duration::from_millis(1);

/// Records of one look.
const BURST: usize = 500;

/// How long a stopping sink waits for the write in hand. Then the next start settles what became of it.
const GRACE: Duration = Duration::from_secs(5);

// === impl Worker ===

impl Worker {
    /// Works until the shutdown begins or a person must act.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let mut rejoin = Rejoin::new(&self.common);
        while rejoin.is_wanted() {
            let consumer = rejoin.join(self.common.sink.input.clone())?;
            let mut membership = Membership::new(&self, consumer);
            let ended = membership.work().await;
            membership.leave().await;
            rejoin.after(ended).await?;
        }
        Ok(())
    }

    /// Looks for the newest mark, for as long as Kafka or Google is away.
    fn find(&self, partitions: Vec<Partition>) -> BoxFuture<'static, Result<Known, Error>> {
        let (upstream, tab) = (self.upstream.clone(), self.tab.clone());
        Box::pin(async move {
            let committed = upstream.committed_when_kafka_answers(partitions).await;
            tab.find(committed).await
        })
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("tab", &self.tab)
            .finish_non_exhaustive()
    }
}

// === impl Membership ===

impl<'a> Membership<'a> {
    fn new(worker: &'a Worker, consumer: Consumer) -> Self {
        Self {
            worker,
            consumer,
            partitions: Vec::new(),
            first: HashMap::new(),
            phase: Phase::Idle,
            paused: false,
        }
    }

    async fn work(&mut self) -> Result<(), Error> {
        let mut pause = POLL;
        loop {
            let event = tokio::select! {
                () = self.worker.common.shutdown.begun() => return Ok(()),
                event = self.phase.event() => Some(event),
                () = tokio::time::sleep(pause) => None,
            };
            if let Some(event) = event {
                self.settle(event)?;
            }
            pause = if self.poll()? { BUSY_POLL } else { POLL };
            self.park().await?;
            self.advance()?;
        }
    }

    /// Finishes the write in hand and goes.
    async fn leave(mut self) {
        if let Phase::Writing(session) = &mut self.phase {
            let finished = tokio::time::timeout(GRACE, session.finish()).await;
            if matches!(finished, Ok(Settled::Written | Settled::Closed)) {
                self.commit();
            }
        }
        self.worker.tab.metrics.common.buffered(0);
        let consumer = self.consumer;
        // Leaving asks the brokers, which blocks the thread.
        let left = tokio::task::spawn_blocking(move || drop(consumer)).await;
        left.expect("dropping a consumer does not panic");
    }

    /// Takes what Kafka has brought. True if there may be more.
    fn poll(&mut self) -> Result<bool, Error> {
        for _ in 0..BURST {
            match self.consumer.poll(Duration::ZERO)? {
                Polled::Record(record) => self.take(record),
                Polled::Assigned(partitions) => self.assigned(partitions)?,
                Polled::Revoked(_) => self.revoked(),
                Polled::Idle => return Ok(false),
            }
        }
        Ok(true)
    }

    fn take(&mut self, record: Record) {
        self.first
            .entry(record.partition.clone())
            .or_insert(record.offset);
        // While the mark is being looked for, records are dropped: reading begins anew when it is found.
        if let Phase::Writing(session) = &mut self.phase {
            session.take(record);
        }
    }

    fn assigned(&mut self, partitions: Vec<Partition>) -> Result<(), Error> {
        self.revoked();
        self.partitions = partitions;
        self.look()
    }

    /// Forgets everything: it is the next owner's. A write in hand is dropped, and applied at most once nevertheless.
    fn revoked(&mut self) {
        self.phase = Phase::Idle;
        self.partitions.clear();
        self.first.clear();
        self.worker.tab.metrics.common.buffered(0);
    }

    /// Looks for the newest mark. Reading waits, membership goes on.
    fn look(&mut self) -> Result<(), Error> {
        if self.partitions.is_empty() {
            // Another process writes to the tab.
            self.worker.common.part.ready();
        } else {
            self.worker
                .common
                .part
                .waiting("looking for its position in the tab");
            self.pause(true)?;
            self.phase = Phase::Finding(self.worker.find(self.partitions.clone()));
        }
        Ok(())
    }

    fn settle(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Found(known) => return self.begin(known?),
            Event::Session(happened) => {
                let Phase::Writing(session) = &mut self.phase else {
                    return Ok(());
                };
                match session.settle(happened)? {
                    Settled::Nothing => {}
                    Settled::Written => self.commit(),
                    Settled::Closed => {
                        self.commit();
                        self.look()?;
                    }
                    Settled::Lost => self.look()?,
                }
            }
        }
        Ok(())
    }

    /// Reads on where the sheet ends.
    fn begin(&mut self, known: Known) -> Result<(), Error> {
        let Worker {
            tab,
            upstream,
            settings,
            ..
        } = self.worker;
        for partition in &self.partitions {
            let low = known.mark.positions.get(partition).map(Offsets::low);
            // Like `pause`, it waits for librdkafka's own thread alone, never for a broker, and what was fetched before
            // does not come any more.
            if let Some(offset) = low.or_else(|| self.first.get(partition).copied()) {
                self.consumer.seek(partition, offset)?;
            }
        }
        let rows = known.mark.rows;
        let tab = tab.moved_to(&known.mark.spreadsheet)?;
        let (sink, spreadsheet) = (&tab.sink, &tab.spreadsheet);
        tracing::info!(
            sink,
            spreadsheet,
            tab = tab.title,
            rows,
            "writing to the tab"
        );
        let upstream = upstream.clone();
        self.phase = Phase::Writing(match self.worker.waiting.clone() {
            None => Box::new(InMemory::new(known, tab, upstream, settings)),
            Some(waiting) => {
                let common = &self.worker.common;
                // The flusher finds the newest tab by itself.
                let tab = self.worker.tab.clone();
                let session = ThroughRedis::new(&known, tab, upstream, waiting, common, settings);
                Box::new(session)
            }
        });
        self.worker.common.part.ready();
        self.pause(false)
    }

    /// Parks dead letters. Their offsets count as done only once Kafka has them.
    async fn park(&mut self) -> Result<(), Error> {
        let Phase::Writing(session) = &mut self.phase else {
            return Ok(());
        };
        for letter in session.letters() {
            if !self.worker.common.parking.park(&letter).await? {
                break;
            }
            session.parked(&letter.record);
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<(), Error> {
        let Phase::Writing(session) = &mut self.phase else {
            return Ok(());
        };
        session.advance(&self.partitions, &self.consumer.positions()?)?;
        self.worker.tab.metrics.common.buffered(session.buffered());
        let full = session.is_draining();
        if full != self.paused {
            self.pause(full)
        } else {
            Ok(())
        }
    }

    fn pause(&mut self, pause: bool) -> Result<(), Error> {
        self.paused = pause;
        Ok(self.consumer.pause(&self.partitions, pause)?)
    }

    /// Commits where a new owner would begin to read. The mark decides; this is for the lag that operators see.
    fn commit(&self) {
        let Phase::Writing(session) = &self.phase else {
            return;
        };
        let low = |partition: &Partition| Some((partition.clone(), session.low(partition)?));
        let next: Vec<_> = self.partitions.iter().filter_map(low).collect();
        if let Err(error) = self.consumer.commit(&next) {
            tracing::warn!(%error, sink = self.worker.tab.sink, "offsets were not committed");
        }
    }
}

// === impl Phase ===

impl Phase {
    /// Cancel safe.
    async fn event(&mut self) -> Event {
        match self {
            Self::Idle => pending().await,
            Self::Finding(found) => Event::Found(found.await),
            Self::Writing(session) => Event::Session(session.happened().await),
        }
    }
}
