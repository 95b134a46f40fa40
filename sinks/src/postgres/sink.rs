//! The task of one sink: reads its topics, keeps one session with the database while it owns partitions, and stops only
//! for what a person must mend in Kafka. Whatever PostgreSQL says, it waits and tries again.

use std::{future::pending, time::Duration};

use formline_core::{Consumer, Record, consumer::Polled, record::Partition, retry::Backoff};
use futures::future::BoxFuture;

use super::{
    database::{Database, Positions, Target},
    delivery::Trouble,
    failure::Failure,
    metrics::Metrics,
    session::Session,
};
use crate::{Error, rejoin::Rejoin, run::Common};

/// What the task of one sink works with.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) common: Common,
    pub(crate) target: Target,
    pub(crate) batch_rows: usize,
    pub(crate) metrics: Metrics,
}

/// One membership in the consumer group.
struct Membership<'a> {
    worker: &'a Worker,
    consumer: Consumer,
    partitions: Vec<Partition>,
    phase: Phase,
    /// Waiting times while transactions fail although the database can be looked at.
    losses: Backoff,
}

enum Phase {
    /// No partition is ours.
    Idle,
    /// Partitions are ours; where to begin is to be read from the database.
    Finding(BoxFuture<'static, (Database, Positions)>),
    Storing(Box<Session>),
}

enum Event {
    Found(Database, Positions),
    Delivered(Result<Vec<(Partition, i64)>, Trouble>),
}

/// Between two looks at Kafka. librdkafka fetches in the background, so it bounds only the delay.
const POLL: Duration = Duration::from_millis(20);

/// After a full look there is more; others get their turn in between.
const BUSY_POLL: Duration = Duration::from_millis(1);

/// Records of one look.
const BURST: usize = 500;

/// How long a stopping sink waits for the transaction under way. Then the next start reads what became of it.
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

    /// Reads the offsets after a while, for as long as PostgreSQL is away or refuses.
    fn find(
        &self,
        partitions: Vec<Partition>,
        after: Duration,
    ) -> BoxFuture<'static, (Database, Positions)> {
        let (target, part) = (self.target.clone(), self.common.part.clone());
        let sink = self.common.sink.group();
        Box::pin(async move {
            tokio::time::sleep(after).await;
            let mut passing = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
            let mut refused = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
            let mut told = None;
            loop {
                let failure = match look(&target, &partitions).await {
                    Ok(found) => return found,
                    Err(failure) => failure,
                };
                part.waiting(failure.to_string());
                if told.as_ref() != Some(&failure) {
                    tracing::warn!(%failure, sink, "rows wait in kafka");
                    told = Some(failure.clone());
                }
                let delay = match failure {
                    Failure::Refused { .. } => refused.delay(),
                    _ => passing.delay(),
                };
                tokio::time::sleep(delay).await;
            }
        })
    }
}

async fn look(target: &Target, partitions: &[Partition]) -> Result<(Database, Positions), Failure> {
    let mut database = target.connect().await?;
    let positions = database.positions(partitions).await?;
    Ok((database, positions))
}

// === impl Membership ===

impl<'a> Membership<'a> {
    fn new(worker: &'a Worker, consumer: Consumer) -> Self {
        Self {
            worker,
            consumer,
            partitions: Vec::new(),
            phase: Phase::Idle,
            losses: Backoff::new(Duration::from_millis(100), Duration::from_secs(30)),
        }
    }

    async fn work(&mut self) -> Result<(), Error> {
        let mut pause = Some(POLL);
        loop {
            let event = tokio::select! {
                () = self.worker.common.shutdown.begun() => return Ok(()),
                event = self.phase.event() => Some(event),
                () = after(pause) => None,
            };
            if let Some(event) = event {
                self.settle(event)?;
            }
            pause = self.poll()?;
            if let Phase::Storing(session) = &mut self.phase {
                session.advance(&self.consumer.positions()?);
                self.worker.metrics.common.buffered(session.buffered());
            }
        }
    }

    /// Finishes the transaction under way and goes.
    async fn leave(mut self) {
        if let Phase::Storing(mut session) = self.phase {
            if session.is_busy()
                && let Ok(Ok(next)) = tokio::time::timeout(GRACE, session.delivered()).await
            {
                commit(&self.consumer, &next);
            }
            // A server that does not answer is not waited for.
            let _closed = tokio::time::timeout(GRACE, session.close()).await;
            self.phase = Phase::Idle;
        }
        self.worker.metrics.common.buffered(0);
        let consumer = self.consumer;
        // Leaving asks the brokers, which blocks the thread.
        let left = tokio::task::spawn_blocking(move || drop(consumer)).await;
        left.expect("dropping a consumer does not panic");
    }

    /// Takes what Kafka has brought, and says when to look again; none if the buffer is full. Then only the transaction
    /// under way is waited for: it ends before Kafka misses the member (`max.poll.interval.ms`).
    fn poll(&mut self) -> Result<Option<Duration>, Error> {
        for _ in 0..BURST {
            if matches!(&self.phase, Phase::Storing(session) if !session.has_room()) {
                return Ok(None);
            }
            match self.consumer.poll(Duration::ZERO)? {
                Polled::Record(record) => self.take(record),
                Polled::Assigned(partitions) => self.assigned(partitions)?,
                Polled::Revoked(_) => self.revoked(),
                Polled::Idle => return Ok(Some(POLL)),
            }
        }
        Ok(Some(BUSY_POLL))
    }

    fn take(&mut self, record: Record) {
        // While the offsets are being read, records are dropped: reading begins anew when they are known.
        if let Phase::Storing(session) = &mut self.phase {
            session.take(record);
        }
    }

    fn assigned(&mut self, partitions: Vec<Partition>) -> Result<(), Error> {
        self.revoked();
        self.partitions = partitions;
        if self.partitions.is_empty() {
            // Other processes have them.
            self.worker.common.part.ready();
            return Ok(());
        }
        (self.worker.common.part).waiting("reading its offsets from postgres");
        self.look(Duration::ZERO)
    }

    /// Forgets everything: it is the next owner's. A transaction under way is dropped, and stored at most once
    /// nevertheless.
    fn revoked(&mut self) {
        self.phase = Phase::Idle;
        self.partitions.clear();
        self.worker.metrics.common.buffered(0);
    }

    /// Reads the offsets. Reading records waits, membership goes on.
    fn look(&mut self, after: Duration) -> Result<(), Error> {
        self.consumer.pause(&self.partitions, true)?;
        self.phase = Phase::Finding(self.worker.find(self.partitions.clone(), after));
        Ok(())
    }

    fn settle(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Found(database, positions) => self.begin(database, positions),
            Event::Delivered(Ok(next)) => {
                self.losses.reset();
                commit(&self.consumer, &next);
                Ok(())
            }
            Event::Delivered(Err(Trouble::Lost(failure))) => {
                let sink = self.worker.common.sink.group();
                tracing::warn!(%failure, sink, "looking at the offsets again");
                self.worker.common.part.waiting(failure.to_string());
                let after = self.losses.delay();
                self.look(after)
            }
            Event::Delivered(Err(Trouble::Stopped(error))) => Err(error),
            // The loop ends at its next turn.
            Event::Delivered(Err(Trouble::Shutdown)) => Ok(()),
        }
    }

    /// Reads on where the database ends.
    fn begin(&mut self, database: Database, positions: Positions) -> Result<(), Error> {
        for (partition, next) in &positions {
            self.consumer.seek(partition, *next)?;
        }
        let Worker {
            common,
            metrics,
            batch_rows,
            ..
        } = self.worker;
        let (sink, partitions) = (common.sink.group(), positions.len());
        tracing::info!(sink, partitions, "storing in postgres");
        let parking = common.parking.clone();
        let session = Session::new(database, positions, *batch_rows, parking, metrics.clone());
        self.phase = Phase::Storing(Box::new(session));
        common.part.ready();
        Ok(self.consumer.pause(&self.partitions, false)?)
    }
}

/// The database decides; this is for the lag that operators see.
fn commit(consumer: &Consumer, next: &[(Partition, i64)]) {
    if let Err(error) = consumer.commit(next) {
        tracing::warn!(%error, "offsets were not committed");
    }
}

async fn after(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => pending().await,
    }
}

// === impl Phase ===

impl Phase {
    /// Cancel safe.
    async fn event(&mut self) -> Event {
        match self {
            Self::Idle => pending().await,
            Self::Finding(found) => {
                let (database, positions) = found.await;
                Event::Found(database, positions)
            }
            Self::Storing(session) => Event::Delivered(session.delivered().await),
        }
    }
}
