//! A worker's time as a member of its group: from joining to the first failure, or to the end of the process.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{
    Consumer, Record,
    consumer::{self, Polled},
    duplicates::Duplicates,
    reader::{From, Reader},
    record::Partition,
    transaction::Transactions,
};

use super::{
    Worker,
    alarm::Alarm,
    input::Input,
    lane::{Lane, Worked},
    publish::Round,
};
use crate::{
    batch::{Finished, Source},
    error::Error,
    plugin::Plugin,
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
    alarm: Alarm,
    /// Until when the step is paused, because its plug-in fails too often.
    paused: Option<Instant>,
}

/// The longest wait for a record; also how soon a swap, a stop or the end of a pause is noticed.
const WAIT: Duration = Duration::from_millis(100);

/// A batch is what is there, up to these bounds; at the bound the rest stays in the consumer.
const RECORDS: usize = 2000;
const BYTES: usize = 4 << 20;

// === impl Session ===

impl<'a> Session<'a> {
    /// Settles what an earlier session has left open, then joins the group.
    pub(super) fn open(worker: &'a Worker) -> Result<Self, Error> {
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
            alarm: Alarm::new(),
            paused: None,
        })
    }

    /// Reads what is there, works on it, publishes.
    pub(super) fn turn(&mut self) -> Result<(), Error> {
        self.follow_plugin();
        self.apply_pauses()?;
        let is_quiet = self.gather()?;
        // A stop cuts a restore short: what would be made of half a state must not be published.
        if self.worker.stop.is_cancelled() {
            return Ok(());
        }
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
                Polled::Revoked(partitions) => self.revoke(&partitions),
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
        if self.paused.is_none() && self.inputs.values().any(Input::is_ready) {
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
        }
    }

    // === Partitions ===

    fn assign(&mut self, partitions: Vec<Partition>) -> Result<(), Error> {
        let (worker, stop) = (self.worker, &self.worker.stop);
        worker.part.waiting("restoring state");
        // First the offsets: Kafka answers only when the last transaction of the partitions' former owner is settled.
        let committed: BTreeMap<_, _> = self.consumer.committed()?.into_iter().collect();
        self.restore(&partitions)?;
        for partition in partitions {
            let port = worker
                .step
                .port_of(&partition.topic)
                .unwrap_or_default()
                .into();
            let next = committed.get(&partition).copied().unwrap_or(0);
            let duplicates = worker.form_topics.contains(&*partition.topic).then(|| {
                Duplicates::before(&worker.client, &partition, next, || !stop.is_cancelled())
            });
            worker.committed.set(&partition, next);
            let source = Source {
                partition: partition.clone(),
                port,
            };
            self.inputs
                .insert(partition, Input::new(source, next, duplicates.transpose()?));
        }
        worker.part.ready();
        tracing::info!(
            step = worker.step.name,
            worker = worker.name,
            partitions = self.inputs.len(),
            "partitions assigned"
        );
        Ok(())
    }

    /// Rebuilds the stores of new partition numbers from the changelog, before their first event.
    fn restore(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        let mut numbers: Vec<i32> = partitions
            .iter()
            .map(|partition| partition.number)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|number| !self.lanes.contains_key(number));
        let mut lanes: BTreeMap<_, _> = numbers
            .iter()
            .map(|number| (*number, Lane::new(*number)))
            .collect();
        if !numbers.is_empty() && !self.plugin.facts.stores.is_empty() {
            let (worker, stop) = (self.worker, &self.worker.stop);
            let topic = worker.step.state_topic();
            let mut reader = Reader::open(&worker.client, &topic, &numbers, From::Beginning)?;
            reader.read_to_end(
                || !stop.is_cancelled(),
                |record| {
                    let lane = lanes.get_mut(&record.partition.number);
                    if let (Some(lane), Some(key)) = (lane, record.key()) {
                        lane.stores.restore(key, record.value());
                    }
                },
            )?;
        }
        self.lanes.append(&mut lanes);
        Ok(())
    }

    /// Forgets partitions. Nothing of them is in flight: a transaction is over before the next call of `poll`.
    fn revoke(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.inputs.remove(partition);
            self.worker.committed.remove(partition);
        }
        let inputs = &self.inputs;
        self.lanes
            .retain(|number, _| inputs.keys().any(|left| left.number == *number));
    }

    // === Working ===

    /// Lets the plug-in work on one batch of each partition that has one.
    fn work(&mut self) -> Vec<Finished> {
        let mut round = Vec::new();
        let mut pause = None;
        for (partition, input) in self.inputs.iter_mut().filter(|(_, input)| input.is_ready()) {
            let Some(lane) = self.lanes.get_mut(&partition.number) else {
                continue;
            };
            match lane.work(self.worker, &self.plugin, input) {
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
        self.commit(finished, &next)
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
            if let Some(input) = self.inputs.get_mut(partition) {
                input.committed = *next;
            }
        }
        Ok(())
    }
}
