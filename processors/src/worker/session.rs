//! A worker's time as a member of its group: from joining to a failure that costs the membership, or to the end of the
//! process. A transaction that fails costs only what the worker holds.

use std::{
    collections::BTreeMap,
    mem,
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
    state::Broken,
    trial::{FEW, Score},
};

/// What a worker holds of its partitions. All of it can be rebuilt from Kafka, and is after any failure.
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
    doubt: Doubt,
    /// Transactions that have failed since the last one that did not.
    failures: u32,
    /// Until when the step is paused, and why: its plug-in fails too often.
    paused: Option<(Instant, String)>,
    /// Partitions whose stores have changed without an event, each with its offset.
    migrating: Vec<(Partition, i64)>,
    /// The partition that had the last turn.
    last: Option<Partition>,
    shown: Shown,
}

/// What the part says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shown {
    Joining,
    Restoring,
    Paused,
    Working,
}

/// The longest wait for a record; also how soon a swap, a stop or the end of a pause is noticed.
const WAIT: Duration = Duration::from_millis(100);

/// How long a restore reads before the consumer is polled again.
const SLICE: Duration = Duration::from_millis(100);

/// No further partition begins a batch in a round that has lasted so long: the round has to be published, and the
/// consumer polled, well before `max.poll.interval.ms` (5 minutes), and a batch may take a minute.
const ROUND: Duration = Duration::from_secs(10);

/// After so many failures in a row something lasts, and the next try should wait: the session ends.
const FAILURES: u32 = 3;

/// How long a fenced worker listens for whether its membership is fenced as well; two heartbeats and some.
const LISTENING: Duration = Duration::from_secs(5);

/// A batch is what is there, up to these bounds; at the bound the rest stays in the consumer.
const RECORDS: usize = 2000;
const BYTES: usize = 4 << 20;

// === impl Session ===

impl<'a> Session<'a> {
    /// Settles what an earlier session has left open, then joins the group.
    pub(super) fn open(worker: &'a Worker) -> Result<Self, Error> {
        let step = &worker.step;
        let transactions = open_transactions(worker)?;
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
            doubt: Doubt::default(),
            failures: 0,
            paused: None,
            migrating: Vec::new(),
            last: None,
            shown: Shown::Joining,
        })
    }

    /// Works until the process stops or something fails. What was read and is not published by then is read again.
    pub(super) fn run(&mut self) -> Result<(), Error> {
        while !self.worker.stop.is_cancelled() {
            self.turn()?;
        }
        Ok(())
    }

    /// Goes on after a transaction that failed: its outcome is settled, and everything begins again at the committed
    /// offsets. The membership stays, so that the other workers keep their partitions. Other errors come back.
    pub(super) fn recover(&mut self, error: Error) -> Result<(), Error> {
        let problem = match error {
            Error::Transaction(problem) if self.failures < FAILURES => problem,
            error => return Err(error),
        };
        self.failures += 1;
        tracing::warn!(
            step = self.worker.step.title(),
            worker = self.worker.name,
            %problem,
            "a transaction failed, its events are worked on again"
        );
        self.revoke();
        if matches!(problem, transaction::Error::Fenced { .. }) {
            self.listen()?;
        }
        self.transactions = open_transactions(self.worker)?;
        let partitions = self.consumer.assigned()?;
        self.assign(partitions)
    }

    /// A second process of the same name fences the consumer too, which hears of it with its next heartbeat, and fails.
    fn listen(&mut self) -> Result<(), Error> {
        let until = Instant::now() + LISTENING;
        while Instant::now() < until && !self.worker.stop.is_cancelled() {
            // What comes is dropped: reading begins again at the committed offsets.
            self.consumer.poll(WAIT)?;
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
            self.work()?
        } else {
            Vec::new()
        };
        if !finished.is_empty() {
            self.publish(&finished)?;
            self.worker
                .metrics
                .batch
                .observe(begun.elapsed().as_secs_f64());
        } else if !self.migrating.is_empty() {
            let next = mem::take(&mut self.migrating);
            self.commit(&[], &next)?;
        } else if is_quiet {
            self.catch_up()?;
        }
        self.write_state()?;
        self.show();
        Ok(())
    }

    /// Writes the state file of one partition, if it is time for any: it takes a moment, and others want to go on.
    fn write_state(&mut self) -> Result<(), Error> {
        let mut lanes = self.lanes.values_mut();
        match lanes.find(|lane| lane.stores.is_due()) {
            Some(lane) => lane.stores.write().or_else(|Broken| lane.fail()),
            None => Ok(()),
        }
    }

    /// Tells operators when something has changed.
    fn show(&mut self) {
        let shown = match (&self.restore, &self.paused) {
            (Some(_), _) => Shown::Restoring,
            (None, Some(_)) => Shown::Paused,
            (None, None) if self.shown == Shown::Joining => Shown::Joining,
            (None, None) => Shown::Working,
        };
        if shown == self.shown {
            return;
        }
        self.shown = shown;
        let part = &self.worker.part;
        match &self.paused {
            _ if shown == Shown::Restoring => part.waiting("restoring state"),
            Some((_, problem)) => part.waiting(format!("paused, the plug-in fails: {problem}")),
            None => part.ready(),
        }
    }

    /// Takes a new plug-in between two batches. A broken one may be mended by it, so a pause ends.
    fn follow_plugin(&mut self) {
        let current = Arc::clone(&self.worker.plugin.borrow());
        if !Arc::ptr_eq(&current, &self.plugin) {
            self.plugin = current;
            self.lanes.values_mut().for_each(Lane::drop_instance);
            if let Some((until, _)) = &mut self.paused {
                *until = Instant::now();
            }
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
            .chain(self.paused.as_ref().map(|(until, _)| *until))
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
        }
    }

    // === Partitions ===

    /// Fetches nothing of new partitions until their state is there.
    fn assign(&mut self, partitions: Vec<Partition>) -> Result<(), Error> {
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
        if !restore.advance(self.worker, SLICE)? {
            restore.tell(self.worker);
            return Ok(());
        }
        let restored = self.restore.take().map(|it| it.finish(self.worker));
        (self.inputs, self.lanes) = restored.unwrap_or_default();
        for (partition, input) in &self.inputs {
            self.worker.committed.set(partition, input.committed);
            // It may have been read further before: until it was paused, or by a transaction that failed.
            self.consumer.seek(partition, input.committed)?;
        }
        let partitions: Vec<_> = self.inputs.keys().cloned().collect();
        self.consumer.pause(&partitions, false)?;
        self.shown = Shown::Restoring;
        tracing::info!(
            step = self.worker.step.title(),
            worker = self.worker.name,
            partitions = partitions.len(),
            "partitions assigned"
        );
        Ok(())
    }

    /// Gives all partitions up, with what of them is not published: the range assignor takes everything before it gives
    /// anew. No transaction is open, each is over before the next call of `poll`.
    pub(super) fn revoke(&mut self) {
        for partition in self.inputs.keys() {
            self.worker.committed.remove(partition);
        }
        let restoring = self.restore.take().map(Restore::give_up);
        let lanes = restoring.unwrap_or_default().into_values();
        for lane in lanes.chain(mem::take(&mut self.lanes).into_values()) {
            lane.stores.close();
        }
        self.inputs.clear();
        self.migrating.clear();
    }

    // === Working ===

    /// Lets the plug-in work on one batch of each partition that has one; or on a single event, while it is doubtful
    /// whether Kafka takes what is made of it.
    fn work(&mut self) -> Result<Vec<Finished>, Error> {
        let doubtful = self.doubtful();
        let turns = match &doubtful {
            Some(partition) => vec![partition.clone()],
            None => self.turns(),
        };
        let (begun, mut round, mut pause) = (Instant::now(), Vec::new(), None);
        for partition in turns {
            if begun.elapsed() >= ROUND {
                break;
            }
            match self.work_on(&partition, doubtful.is_some())? {
                Worked::Done(finished) => round.extend(finished),
                // Its offset stays, and goes with the changes: a worker that has lost the partition cannot commit it.
                Worked::Migrating => {
                    let input = self.inputs.get(&partition);
                    let next = input.map(|input| (partition.clone(), input.committed));
                    self.migrating.extend(next);
                }
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
            self.last = Some(partition);
        }
        if let Some((delay, problem)) = pause {
            self.pause(delay, problem);
        }
        Ok(round)
    }

    fn work_on(&mut self, partition: &Partition, is_alone: bool) -> Result<Worked, Error> {
        let (Some(input), Some(lane)) = (
            self.inputs.get_mut(partition),
            self.lanes.get_mut(&partition.number),
        ) else {
            return Ok(Worked::Done(None));
        };
        let mut events = if is_alone {
            input.take_one()
        } else {
            input.take()
        };
        let recognised = lane.recognise(self.worker, input, &mut events);
        let worked = match events.first().and_then(|first| self.doubt.verdict(first)) {
            Some(verdict) => Ok(lane::park(input, events, verdict)),
            None => lane.work(self.worker, &self.plugin, input, events),
        };
        recognised.and(worked).or_else(|Broken| lane.fail())
    }

    /// Partitions that have something to work on, behind the one that had the last turn first.
    fn turns(&self) -> Vec<Partition> {
        let ready = self.inputs.iter().filter(|(_, input)| input.is_ready());
        let mut turns: Vec<_> = ready.map(|(partition, _)| partition.clone()).collect();
        let behind = turns
            .iter()
            .position(|partition| Some(partition) > self.last.as_ref());
        turns.rotate_left(behind.unwrap_or(0));
        turns
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
    fn pause(&mut self, delay: Duration, problem: String) {
        let (step, plugin) = (self.worker.step.title(), &self.plugin.label);
        tracing::error!(step, plugin, ?delay, problem, "the step pauses");
        self.worker.metrics.pause();
        self.paused = Some((Instant::now() + delay, problem));
    }

    /// Ends pauses whose time is over, and tells the consumer which partitions to fetch.
    fn apply_pauses(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        self.paused.take_if(|(until, _)| *until <= now);
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
        match self.commit(finished, &next) {
            Err(Error::Transaction(refusal @ transaction::Error::Refused(_)))
                if !self.doubt.note(finished, &refusal) =>
            {
                Err(Error::DeadLetter {
                    topic: self.worker.step.dead_letter_topic(),
                    source: Box::new(refusal),
                })
            }
            published => published,
        }
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
        let ends = round.publish(&mut self.transactions, &self.consumer)?;
        self.failures = 0;
        for (number, lane) in &mut self.lanes {
            lane.stores.commit(ends.get(number).copied());
        }
        for (partition, next) in next {
            worker.committed.set(partition, *next);
            self.doubt.forget(partition, *next);
            let Some(input) = self.inputs.get_mut(partition) else {
                continue;
            };
            input.committed = *next;
            if let (true, Some(lane)) = (input.is_form, self.lanes.get_mut(&partition.number)) {
                lane.stores.know_submissions(&partition.topic, *next);
            }
        }
        Ok(())
    }
}

/// The producers of a worker, which say where they write in the changelog.
fn open_transactions(worker: &Worker) -> Result<Transactions, Error> {
    let id = format!("{}.{}", worker.step.group(), worker.name);
    let changelog = worker.step.state_topic();
    Ok(Transactions::open(&worker.client, &id, &changelog)?)
}
