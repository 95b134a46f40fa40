//! The membership of one sink in its consumer group, the same for every kind: it polls Kafka,
//! locates where a new assignment begins, keeps one session with the destination while partitions
//! are assigned, and commits.
//!
//! A kind of sink is a [`Destination`]; the partitions of one assignment are a [`Session`].

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    future::pending,
    time::Duration,
};

use formline_core::{
    Consumer, Record,
    kafka::{consumer::Polled, record::Partition},
    retry::Backoff,
};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, timeout_at};

use super::{
    context::{SinkContext, Work},
    rejoin::Rejoin,
};
use crate::error::Error;

/// Offsets by partition: everything before each of them is done.
pub(crate) type Offsets = Vec<(Partition, i64)>;

/// Work of a session whose partitions were revoked. It has [`REVOKE_GRACE`] to end.
pub(crate) type Leftover = BoxFuture<'static, Result<(), Error>>;

/// What a sink writes to.
pub(crate) trait Destination: Send + Sync + 'static {
    /// What must be known before an assignment can begin, such as the offsets that the destination
    /// holds.
    type Position: Send + 'static;

    /// The state that health shows while the position is being located.
    fn locating(&self) -> &'static str;

    /// Locates the position of newly assigned partitions. The returned future retries for as long
    /// as the other side is unavailable; it is dropped when the partitions are revoked.
    ///
    /// # Errors
    /// If the consumer failed. An error of the future stops the sink.
    fn locate(
        &self,
        consumer: &mut Consumer,
        partitions: &[Partition],
    ) -> Result<BoxFuture<'static, Result<Self::Position, Error>>, Error>;

    /// Opens the session of an assignment at its position.
    ///
    /// # Errors
    /// If the sink must stop.
    fn open(&self, position: Self::Position, assignment: &Assignment) -> Result<Opened, Error>;
}

/// One assignment of partitions, from its position until the partitions are revoked or the position
/// is lost. It holds records until they are delivered and leaves polling Kafka to the membership.
pub(crate) trait Session: Send {
    /// Whether the next record may be polled. While there is no room, the membership does not poll
    /// at all and waits for [`next`](Self::next) alone, which must end well before
    /// `max.poll.interval.ms` (5 minutes).
    fn has_room(&self) -> bool {
        true
    }

    /// Whether this partition is paused until the session has room for its records. Polling
    /// continues.
    fn is_full(&self, _: &Partition) -> bool {
        false
    }

    /// Records that are not delivered yet.
    fn buffered(&self) -> usize;

    /// Takes a record that was read.
    fn take(&mut self, record: Record);

    /// Starts what is due. `positions` are the offsets that the consumer reads next, which control
    /// records can move beyond the last record. A seek makes the position invalid, and the
    /// partition has none until the next record or control record is read. Returns offsets to
    /// commit, if there are any without waiting.
    fn advance<'a>(
        &'a mut self,
        positions: &'a [(Partition, i64)],
    ) -> BoxFuture<'a, Result<Offsets, Error>>;

    /// Waits until a piece of work has ended, and says what follows. Pending while nothing is under
    /// way. Cancel safe.
    fn next(&mut self) -> BoxFuture<'_, Result<Progress, Error>>;

    /// Ends the session because the sink leaves the group: waits for the work under way, for a
    /// bounded time, and returns the offsets to commit.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Offsets>;

    /// Ends the session because its partitions were revoked. By default, the work under way is
    /// dropped.
    fn revoke(self: Box<Self>) -> Vec<Leftover> {
        Vec::new()
    }
}

/// The partitions of one assignment.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    pub(crate) partitions: Vec<Partition>,
    /// The first offset that was read of each partition since it was assigned.
    pub(crate) first: HashMap<Partition, i64>,
}

/// A session, and where reading begins.
pub(crate) struct Opened {
    pub(crate) session: Box<dyn Session>,
    /// Partitions to seek. The others continue at the position of the consumer.
    pub(crate) starts: Offsets,
}

/// What follows from work that has ended.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing.
    Unchanged,
    /// These offsets are committed.
    Advanced(Offsets),
    /// These offsets are committed, and the position is located again at once: the destination
    /// continues elsewhere, or another writer was faster.
    Relocate(Offsets),
    /// The destination failed. The position is located again after a delay that grows until records
    /// advance. The session has said why in its health.
    Lost,
}

/// One membership in the consumer group.
struct Membership<'a, D: Destination> {
    context: &'a SinkContext,
    destination: &'a D,
    consumer: Consumer,
    assignment: Assignment,
    paused: HashSet<Partition>,
    phase: Phase<D::Position>,
    leftovers: FuturesUnordered<Leftover>,
    /// When leftovers are dropped, if the next assignment waits for them.
    cut: Instant,
    /// Delays while the destination fails although its position can be located.
    losses: Backoff,
}

enum Phase<P> {
    /// No partition is assigned.
    Idle,
    /// The position of the assigned partitions is being located.
    Locating(BoxFuture<'static, Result<P, Error>>),
    Running(Box<dyn Session>),
}

enum Event<P> {
    /// Work of a revoked session has ended.
    Leftover,
    Located(P),
    Progress(Progress),
}

/// Pause between two polls. librdkafka fetches in the background, so it bounds only the delay.
const POLL: Duration = Duration::from_millis(20);

/// Pause after a full burst, when more records are likely; other tasks run meanwhile.
const BUSY_POLL: Duration = Duration::from_millis(1);

/// Records of one burst.
const BURST: usize = 500;

/// How long work of a revoked session may take before the next assignment drops it. What is dropped
/// is done again.
const REVOKE_GRACE: Duration = Duration::from_secs(10);

/// The work of a sink until the shutdown begins or an error stops it. A consumer that failed is
/// replaced.
pub(crate) fn work(context: &SinkContext, destination: impl Destination) -> Work {
    let context = context.clone();
    Box::pin(async move {
        let mut rejoin = Rejoin::new(&context);
        while rejoin.is_wanted() {
            let consumer = rejoin.join()?;
            let mut membership = Membership::new(&context, &destination, consumer);
            let ended = membership.run().await;
            membership.leave().await;
            rejoin.after(ended).await?;
        }
        Ok(())
    })
}

// === impl Membership ===

impl<'a, D: Destination> Membership<'a, D> {
    fn new(context: &'a SinkContext, destination: &'a D, consumer: Consumer) -> Self {
        Self {
            context,
            destination,
            consumer,
            assignment: Assignment::default(),
            paused: HashSet::new(),
            phase: Phase::Idle,
            leftovers: FuturesUnordered::new(),
            cut: Instant::now(),
            losses: Backoff::new(Duration::from_millis(100), Duration::from_secs(30)),
        }
    }

    async fn run(&mut self) -> Result<(), Error> {
        let mut pause = Some(POLL);
        loop {
            let event = tokio::select! {
                // A position that was read during the shutdown may be incomplete, so the shutdown
                // comes first.
                biased;
                () = self.context.shutdown.begun() => return Ok(()),
                event = next(&mut self.phase, &mut self.leftovers, self.cut) => Some(event?),
                () = sleep(pause) => None,
            };
            match event {
                Some(Event::Located(position)) => self.open(position)?,
                Some(Event::Progress(progress)) => self.apply(progress)?,
                Some(Event::Leftover) | None => {}
            }
            pause = self.poll()?;
            self.advance().await?;
        }
    }

    /// Finishes the work under way and leaves the group.
    async fn leave(mut self) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Running(session) => {
                let offsets = session.finish().await;
                self.commit(&offsets);
            }
            Phase::Idle | Phase::Locating(_) => {
                let until = Instant::now() + REVOKE_GRACE;
                while let Ok(Some(_)) = timeout_at(until, self.leftovers.next()).await {}
            }
        }
        self.report_buffered(0);
        let consumer = self.consumer;
        // Leaving calls the brokers, which blocks the thread.
        let left = tokio::task::spawn_blocking(move || drop(consumer)).await;
        left.expect("dropping a consumer does not panic");
    }

    /// Takes what Kafka has brought, and says when to poll again; `None` if the session has no
    /// room.
    fn poll(&mut self) -> Result<Option<Duration>, Error> {
        for _ in 0..BURST {
            if matches!(&self.phase, Phase::Running(session) if !session.has_room()) {
                return Ok(None);
            }
            match self.consumer.poll(Duration::ZERO)? {
                Polled::Record(record) => self.take(record)?,
                Polled::Assigned(partitions) => self.assigned(partitions)?,
                Polled::Revoked(_) => self.revoked(),
                Polled::Idle => return Ok(Some(POLL)),
            }
        }
        Ok(Some(BUSY_POLL))
    }

    fn take(&mut self, record: Record) -> Result<(), Error> {
        let partition = record.partition.clone();
        let first = self.assignment.first.entry(partition.clone());
        first.or_insert(record.offset);
        // While the position is being located, records are dropped: reading begins again where it
        // is.
        if let Phase::Running(session) = &mut self.phase {
            session.take(record);
            if session.is_full(&partition) && !self.paused.contains(&partition) {
                self.pause(vec![partition], true)?;
            }
        }
        Ok(())
    }

    fn assigned(&mut self, partitions: Vec<Partition>) -> Result<(), Error> {
        self.revoked();
        self.assignment.partitions = partitions;
        if self.assignment.partitions.is_empty() {
            // Other processes have them.
            self.context.health.ready();
            return Ok(());
        }
        self.context.health.waiting(self.destination.locating());
        self.locate(Duration::ZERO)
    }

    /// Ends the session: its records belong to the next owner.
    fn revoked(&mut self) {
        if let Phase::Running(session) = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.leftovers.extend(session.revoke());
        }
        self.cut = Instant::now() + REVOKE_GRACE;
        self.assignment = Assignment::default();
        self.paused.clear();
        self.report_buffered(0);
    }

    /// Locates the position after a delay. Reading pauses, the membership continues.
    fn locate(&mut self, delay: Duration) -> Result<(), Error> {
        self.pause(self.assignment.partitions.clone(), true)?;
        let partitions = &self.assignment.partitions;
        let located = self.destination.locate(&mut self.consumer, partitions)?;
        self.phase = Phase::Locating(Box::pin(async move {
            tokio::time::sleep(delay).await;
            located.await
        }));
        Ok(())
    }

    fn open(&mut self, position: D::Position) -> Result<(), Error> {
        let Opened { session, starts } = self.destination.open(position, &self.assignment)?;
        for (partition, offset) in &starts {
            self.consumer.seek(partition, *offset)?;
        }
        self.phase = Phase::Running(session);
        self.context.health.ready();
        self.pause(self.assignment.partitions.clone(), false)
    }

    fn apply(&mut self, progress: Progress) -> Result<(), Error> {
        match progress {
            Progress::Unchanged => Ok(()),
            Progress::Advanced(offsets) => {
                self.losses.reset();
                self.commit(&offsets);
                Ok(())
            }
            Progress::Relocate(offsets) => {
                self.commit(&offsets);
                self.context.health.waiting(self.destination.locating());
                self.locate(Duration::ZERO)
            }
            Progress::Lost => {
                let delay = self.losses.delay();
                self.locate(delay)
            }
        }
    }

    /// Starts what is due, and pauses partitions whose records the session has no room for.
    async fn advance(&mut self) -> Result<(), Error> {
        let Phase::Running(session) = &mut self.phase else {
            return Ok(());
        };
        let positions = self.consumer.positions()?;
        let offsets = session.advance(&positions).await?;
        let buffered = session.buffered();
        let (mut full, mut free) = (Vec::new(), Vec::new());
        for partition in &self.assignment.partitions {
            match (session.is_full(partition), self.paused.contains(partition)) {
                (true, false) => full.push(partition.clone()),
                (false, true) => free.push(partition.clone()),
                (true, true) | (false, false) => {}
            }
        }
        self.report_buffered(buffered);
        self.commit(&offsets);
        self.pause(full, true)?;
        self.pause(free, false)
    }

    fn pause(&mut self, partitions: Vec<Partition>, pause: bool) -> Result<(), Error> {
        if partitions.is_empty() {
            return Ok(());
        }
        self.consumer.pause(&partitions, pause)?;
        for partition in partitions {
            match pause {
                true => self.paused.insert(partition),
                false => self.paused.remove(&partition),
            };
        }
        Ok(())
    }

    /// The destination or the journal decides where a new owner begins; the committed offsets only
    /// mirror it, so a commit that fails is made up for by the next.
    fn commit(&self, offsets: &[(Partition, i64)]) {
        if offsets.is_empty() {
            return;
        }
        if let Err(error) = self.consumer.commit(offsets) {
            let sink = self.context.sink.group();
            tracing::warn!(%error, sink, "offsets were not committed");
        }
    }

    fn report_buffered(&self, records: usize) {
        self.context.dead_letters.metrics.buffered(records);
    }
}

/// Waits for the next event. An assignment begins only when the leftovers of the earlier ones have
/// ended or are cut off, because a journal must contain what became of them. Cancel safe.
async fn next<P>(
    phase: &mut Phase<P>,
    leftovers: &mut FuturesUnordered<Leftover>,
    cut: Instant,
) -> Result<Event<P>, Error> {
    match phase {
        Phase::Idle => match leftovers.next().await {
            Some(ended) => ended.map(|()| Event::Leftover),
            None => pending().await,
        },
        Phase::Locating(located) => {
            while let Ok(Some(ended)) = timeout_at(cut, leftovers.next()).await {
                ended?;
            }
            leftovers.clear();
            located.await.map(Event::Located)
        }
        Phase::Running(session) => session.next().await.map(Event::Progress),
    }
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => pending().await,
    }
}
