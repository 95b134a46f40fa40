//! A worker's time as a member of its group: from joining to a failure that costs the membership, or to the end of the
//! process. A transaction that fails costs only what the worker holds.

mod partitions;
mod work;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{
    Consumer, consumer,
    record::Partition,
    transaction::{self, Transactions},
};

use super::{Worker, alarm::Alarm, doubt::Doubt, input::Input, lane::Lane, restore::Restore};
use crate::{error::Error, plugin::Plugin, state::Broken};

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

/// After so many failures in a row something lasts, and the next try should wait: the session ends.
const FAILURES: u32 = 3;

/// How long a fenced worker listens for whether its membership is fenced as well; two heartbeats and some.
const LISTENING: Duration = Duration::from_secs(5);

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
        self.apply_pauses()?;
        let is_quiet = self.gather()?;
        self.restore()?;
        // After the wait for records: what comes behind a swap is the new plug-in's.
        self.follow_plugin();
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
        } else if self.lanes.values().any(|lane| lane.stores.has_changes()) {
            // A slice of a migration.
            self.commit(&[], &[])?;
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
}

/// The producers of a worker, which say where they write in the changelog.
fn open_transactions(worker: &Worker) -> Result<Transactions, Error> {
    let id = format!("{}.{}", worker.step.group(), worker.name);
    let changelog = worker.step.state_topic();
    Ok(Transactions::open(&worker.client, &id, &changelog)?)
}
