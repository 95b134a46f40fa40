//! A worker's time as a member of its group: from joining to the first failure, or to the end of the process.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{
    Consumer, Record,
    consumer::{self, Polled},
    record::Partition,
    transaction::{self, Transactions},
};

use super::{
    Worker,
    alarm::Alarm,
    doubt::Doubt,
    input::Input,
    lane::{self, Lane, Worked},
    publish::Round,
    restore::Restore,
};
use crate::{
    batch::Finished,
    error::Error,
    plugin::Plugin,
    trial::{FEW, Score},
};

/// What a worker holds of its partitions. All of it can be rebuilt from Kafka: after any failure it is dropped.
#[derive(Debug)]
pub(super) struct Session<'a> {
    worker: &'a Worker,
    consumer: Consumer,
    transactions: Transactions,
    plugin: Arc<Plugin>,
    inputs: BTreeMap<Partition, Input>,
    lanes: BTreeMap<i32, Lane>,
    /// While it lasts, none of the partitions is worked on.
    restore: Option<Restore>,
    alarm: Alarm,
    doubt: &'a mut Doubt,
    /// Until when the step is paused, because its plug-in fails too often.
    paused: Option<Instant>,
}

/// The longest wait for a record; also how soon a swap, a stop or the end of a pause is noticed.
const WAIT: Duration = Duration::from_millis(100);

/// How long a restore reads before the consumer is polled again.
const SLICE: Duration = Duration::from_millis(100);

/// A batch is what is there, up to these bounds; at the bound the rest stays in the consumer.
const RECORDS: usize = 2000;
const BYTES: usize = 4 << 20;

// === impl Session ===

impl<'a> Session<'a> {
    /// Settles what an earlier session has left open, then joins the group.
    pub(super) fn open(worker: &'a Worker, doubt: &'a mut Doubt) -> Result<Self, Error> {
        let step = &worker.step;
        let id = format!("{}.{}", step.group(), worker.name);
        let transactions = Transactions::open(&worker.client, &id)?;
        let options = consumer::Options {
            group: step.group(),
            member: worker.name.clone(),
            topics: step.topics(),
        };
        worker.part.waiting("joining the consumer group");
        Ok(Self {
            worker,
            consumer: Consumer::join(&worker.client, &options)?,
            transactions,
            plugin: Arc::clone(&worker.plugin.borrow()),
            inputs: BTreeMap::new(),
            lanes: BTreeMap::new(),
            restore: None,
            alarm: Alarm::new(),
            doubt,
            paused: None,
        })
    }

    /// Works until the process stops. What was read and is not published by then is read again by the next session.
    pub(super) fn run(mut self) -> Result<(), Error> {
        while !self.worker.stop.is_cancelled() {
            self.turn()?;
        }
        Ok(())
    }

    /// Reads what is there, works on it, publishes.
    fn turn(&mut self) -> Result<(), Error> {
        self.follow_plugin();
        self.apply_pauses()?;
        let is_quiet = self.gather()?;
        self.restore()?;
        let begun = Instant::now();
        let finished = if self.paused.is_none() {
            self.work()
        } else {
            Vec::new()
        };
        if !finished.is_empty() {
            self.publish(&finished)?;
            self.worker
                .metrics
                .batch
                .observe(begun.elapsed().as_secs_f64());
        } else if is_quiet {
            self.catch_up()?;
        }
        Ok(())
    }

    /// Takes a new plug-in between two batches. A broken one may be mended by it, so a pause ends.
    fn follow_plugin(&mut self) {
        let current = Arc::clone(&self.worker.plugin.borrow());
        if !Arc::ptr_eq(&current, &self.plugin) {
            self.plugin = current;
            self.lanes.values_mut().for_each(Lane::drop_instance);
            self.paused = self.paused.map(|_| Instant::now());
        }
    }

    // === Reading ===

    /// Takes what the consumer holds. True if it holds nothing, for a while.
    fn gather(&mut self) -> Result<bool, Error> {
        let mut polled = self.consumer.poll(self.patience())?;
        let mut is_quiet = true;
        loop {
            match polled {
                Polled::Idle => return Ok(is_quiet),
                Polled::Record(record) => self.push(record),
                Polled::Assigned(partitions) => self.assign(partitions)?,
                Polled::Revoked(_) => self.revoke(),
            }
            is_quiet = false;
            if self.is_full() {
                return Ok(false);
            }
            polled = self.consumer.poll(Duration::ZERO)?;
        }
    }

    /// How long to wait for a record: not at all if there is work, else until something is due.
    fn patience(&self) -> Duration {
        let has_work = self.paused.is_none() && self.inputs.values().any(Input::is_ready);
        if has_work || self.restore.is_some() {
            return Duration::ZERO;
        }
        let due = self
            .inputs
            .values()
            .filter_map(Input::resume_at)
            .chain(self.paused)
            .min();
        due.map_or(WAIT, |due| {
            due.saturating_duration_since(Instant::now()).min(WAIT)
        })
    }

    fn is_full(&self) -> bool {
        let sizes = self
            .inputs
            .values()
            .filter(|input| input.is_ready())
            .map(Input::size);
        let (records, bytes) =
            sizes.fold((0, 0), |(r, b), (records, bytes)| (r + records, b + bytes));
        records >= RECORDS || bytes >= BYTES
    }

    fn push(&mut self, record: Record) {
        // A record of a partition that was given up in the meantime is somebody else's.
        if let Some(input) = self.inputs.get_mut(&record.partition) {
            input.push(record);
        } else if let Some(restore) = &mut self.restore {
            restore.push(record);
        }
    }

    // === Partitions ===

    /// Fetches nothing of new partitions until their state is there.
    fn assign(&mut self, partitions: Vec<Partition>) -> Result<(), Error> {
        self.worker.part.waiting("restoring state");
        self.consumer.pause(&partitions, true)?;
        let (worker, consumer) = (self.worker, &mut self.consumer);
        self.restore = Some(Restore::begin(worker, &self.plugin, consumer, partitions)?);
        Ok(())
    }

    /// Reads a slice of what is to be restored. At its end the partitions can be worked on.
    fn restore(&mut self) -> Result<(), Error> {
        let Some(restore) = &mut self.restore else {
            return Ok(());
        };
        if !restore.advance(SLICE)? {
            return Ok(());
        }
        let restored = self.restore.take().map(|it| it.finish(self.worker));
        let (inputs, lanes, early) = restored.unwrap_or_default();
        for (partition, input) in &inputs {
            self.worker.committed.set(partition, input.committed);
        }
        let partitions: Vec<_> = inputs.keys().cloned().collect();
        (self.inputs, self.lanes) = (inputs, lanes);
        early.into_iter().for_each(|record| self.push(record));
        self.consumer.pause(&partitions, false)?;
        self.worker.part.ready();
        tracing::info!(
            step = self.worker.step.name,
            worker = self.worker.name,
            partitions = partitions.len(),
            "partitions assigned"
        );
        Ok(())
    }

    /// Forgets all partitions: the range assignor takes everything before it gives anew. Nothing of them is in flight, a
    /// transaction is over before the next call of `poll`.
    fn revoke(&mut self) {
        for partition in self.inputs.keys() {
            self.worker.committed.remove(partition);
        }
        self.restore = None;
        self.inputs.clear();
        self.lanes.clear();
    }

    // === Working ===

    /// Lets the plug-in work on one batch of each partition that has one; or on a single event, while it is doubtful
    /// whether Kafka takes what is made of it.
    fn work(&mut self) -> Vec<Finished> {
        let doubtful = self.doubtful();
        let mut round = Vec::new();
        let mut pause = None;
        for (partition, input) in self.inputs.iter_mut().filter(|(_, input)| input.is_ready()) {
            if doubtful.as_ref().is_some_and(|only| only != partition) {
                continue;
            }
            let Some(lane) = self.lanes.get_mut(&partition.number) else {
                continue;
            };
            let events = match doubtful {
                Some(_) => input.take_one(),
                None => input.take(),
            };
            let verdict = events.first().and_then(|first| self.doubt.verdict(first));
            let worked = match verdict {
                Some(verdict) => lane::park(input, events, verdict),
                None => lane.work(self.worker, &self.plugin, input, events),
            };
            match worked {
                Worked::Done(finished) => round.extend(finished),
                Worked::Failed(given_up) => {
                    round.extend(given_up);
                    let delay = self.alarm.note(Instant::now());
                    pause = delay
                        .map(|delay| (delay, "it fails too often".to_owned()))
                        .or(pause);
                }
                Worked::Broken(failure) => {
                    self.worker.metrics.trap(failure.reason);
                    // It fails whatever comes: a new plug-in has shown enough.
                    self.worker.tally.add(Score::failures_only(FEW));
                    pause = Some((self.alarm.pause(Instant::now()), failure.to_string()));
                    break;
                }
            }
        }
        if let Some((delay, problem)) = pause {
            self.pause(delay, &problem);
        }
        round
    }

    /// The first partition whose next event has to go alone.
    fn doubtful(&self) -> Option<Partition> {
        let concerned = self.inputs.iter().find(|(_, input)| {
            input.is_ready()
                && input
                    .first()
                    .is_some_and(|event| self.doubt.concerns(event))
        });
        concerned.map(|(partition, _)| partition.clone())
    }

    /// Pauses the whole step: an operator should look, and the events should wait for it.
    fn pause(&mut self, delay: Duration, problem: &str) {
        let (step, plugin) = (&self.worker.step.name, &self.plugin.label);
        tracing::error!(step, plugin, ?delay, problem, "the step pauses");
        self.worker.metrics.pause();
        self.worker
            .part
            .waiting(format!("paused, the plug-in fails: {problem}"));
        self.paused = Some(Instant::now() + delay);
    }

    /// Ends pauses whose time is over, and tells the consumer which partitions to fetch.
    fn apply_pauses(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
            self.worker.part.ready();
        }
        let is_step_paused = self.paused.is_some();
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for (partition, input) in &mut self.inputs {
            match input.change_pause(now, is_step_paused) {
                Some(true) => pause.push(partition.clone()),
                Some(false) => resume.push(partition.clone()),
                None => {}
            }
        }
        for (partitions, is_pause) in [(pause, true), (resume, false)] {
            if !partitions.is_empty() {
                self.consumer.pause(&partitions, is_pause)?;
            }
        }
        Ok(())
    }

    // === Publishing ===

    fn publish(&mut self, finished: &[Finished]) -> Result<(), Error> {
        let next: Vec<_> = finished
            .iter()
            .map(|done| (done.source.partition.clone(), done.next_offset()))
            .collect();
        let published = self.commit(finished, &next);
        if let Err(Error::Transaction(refusal @ transaction::Error::Refused(_))) = &published {
            self.doubt.note(finished, refusal);
        }
        published
    }

    /// Moves the committed offsets behind what is not for readers: markers of transactions, and aborted records. So an
    /// offset that equals the end of a topic says that everything has passed. In a transaction like all others, because
    /// a plain commit could arrive after the next transaction's and set the group back.
    fn catch_up(&mut self) -> Result<(), Error> {
        let mut next = self.consumer.positions()?;
        next.retain(|(partition, position)| {
            let input = self.inputs.get(partition);
            input.is_some_and(|input| input.is_empty() && input.committed < *position)
        });
        if next.is_empty() {
            Ok(())
        } else {
            self.commit(&[], &next)
        }
    }

    fn commit(&mut self, finished: &[Finished], next: &[(Partition, i64)]) -> Result<(), Error> {
        let (worker, plugin, lanes) = (self.worker, &self.plugin, &self.lanes);
        let round = Round {
            worker,
            plugin,
            finished,
            lanes,
            next,
        };
        round.publish(&mut self.transactions, &self.consumer)?;
        self.lanes
            .values_mut()
            .for_each(|lane| lane.stores.commit());
        for (partition, next) in next {
            worker.committed.set(partition, *next);
            self.doubt.forget(partition, *next);
            if let Some(input) = self.inputs.get_mut(partition) {
                input.committed = *next;
            }
        }
        Ok(())
    }
}
