//! A worker's membership in its consumer group: from joining until an error ends it, or until the
//! process stops. A failed transaction does not end the membership.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{
    Consumer,
    kafka::{
        consumer::ConsumerOptions,
        record::Partition,
        transaction::{TransactionError, TransactionalProducer},
    },
};

use crate::{
    error::Error,
    plugin::Plugin,
    state::StoreFailed,
    worker::{
        circuit_breaker::CircuitBreaker, context::Worker, input::Input,
        partition_task::PartitionTask, poison_isolation::PoisonIsolation, restore::Restore,
    },
};

/// What a worker holds for its partitions. All of it can be rebuilt from Kafka, and is after an
/// error.
#[derive(Debug)]
pub(in crate::worker) struct Session<'a> {
    pub(super) worker: &'a Worker,
    pub(super) consumer: Consumer,
    pub(super) transactions: TransactionalProducer,
    pub(super) plugin: Arc<Plugin>,
    pub(super) inputs: BTreeMap<Partition, Input>,
    pub(super) tasks: BTreeMap<i32, PartitionTask>,
    /// The restore in progress. Meanwhile no partition is processed.
    pub(super) restore: Option<Restore>,
    pub(super) breaker: CircuitBreaker,
    pub(super) isolation: PoisonIsolation,
    /// Failed transactions since the last successful one.
    pub(super) failures: u32,
    /// Until when the step is paused, and why.
    pub(super) paused: Option<(Instant, String)>,
    /// The partition that was processed last.
    pub(super) last: Option<Partition>,
    pub(super) reported: ReportedState,
}

/// The state that the worker has reported last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReportedState {
    Joining,
    Restoring,
    Paused,
    Working,
}

/// The longest wait for a record. It is also the delay until a swap, a stop or the end of a pause
/// is noticed.
pub(super) const WAIT: Duration = Duration::from_millis(100);

/// Consecutive failures after which the session ends and the next attempt is delayed: the problem
/// persists.
const FAILURES: u32 = 3;

/// How long a fenced worker waits to learn whether its membership is fenced, too: a little more
/// than two heartbeats.
const FENCE_WAIT: Duration = Duration::from_secs(5);

// === impl Session ===

impl<'a> Session<'a> {
    /// Resolves transactions that an earlier session has left open, then joins the group.
    pub(in crate::worker) fn open(worker: &'a Worker) -> Result<Self, Error> {
        let step = &worker.step;
        let transactions = open_transactions(worker)?;
        let options = ConsumerOptions {
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
            tasks: BTreeMap::new(),
            restore: None,
            breaker: CircuitBreaker::new(),
            isolation: PoisonIsolation::default(),
            failures: 0,
            paused: None,
            last: None,
            reported: ReportedState::Joining,
        })
    }

    /// Runs until the process stops or an error occurs. Events that were read and not published by
    /// then are read again.
    pub(in crate::worker) fn run(&mut self) -> Result<(), Error> {
        while !self.worker.stop.is_cancelled() {
            self.turn()?;
        }
        Ok(())
    }

    /// Recovers from a failed transaction: its outcome is resolved, and processing restarts from
    /// the committed offsets. The membership continues, so that the other workers keep their
    /// partitions. Other errors are returned.
    pub(in crate::worker) fn recover(&mut self, error: Error) -> Result<(), Error> {
        let problem = match error {
            Error::Transaction(problem) if self.failures < FAILURES => problem,
            error => return Err(error),
        };
        self.failures += 1;
        tracing::warn!(
            step = self.worker.step.title(),
            worker = self.worker.name,
            %problem,
            "a transaction failed; processing its events again"
        );
        self.revoke();
        if matches!(problem, TransactionError::Fenced { .. }) {
            self.wait_for_fencing()?;
        }
        self.transactions = open_transactions(self.worker)?;
        let partitions = self.consumer.assigned()?;
        self.assign(partitions)
    }

    /// Waits whether a second process with the same name has fenced the consumer as well, which
    /// then fails at its next heartbeat.
    fn wait_for_fencing(&mut self) -> Result<(), Error> {
        let until = Instant::now() + FENCE_WAIT;
        while Instant::now() < until && !self.worker.stop.is_cancelled() {
            // Records are dropped, because reading restarts from the committed offsets.
            self.consumer.poll(WAIT)?;
        }
        Ok(())
    }

    /// Reads, processes and publishes one round.
    fn turn(&mut self) -> Result<(), Error> {
        self.apply_pauses()?;
        let is_quiet = self.gather()?;
        self.restore()?;
        // After the wait for records, so that records read after a swap go to the new plug-in.
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
        } else if self.tasks.values().any(|task| task.stores.has_changes()) {
            // A slice of a migration.
            self.commit(&[], &[])?;
        } else if is_quiet {
            self.catch_up()?;
        }
        self.write_state()?;
        self.show();
        Ok(())
    }

    /// Writes the state file of one partition that is due. Only one, because a write takes a moment
    /// and the other partitions wait.
    fn write_state(&mut self) -> Result<(), Error> {
        let mut tasks = self.tasks.values_mut();
        match tasks.find(|task| task.stores.is_due()) {
            Some(task) => task.stores.write().or_else(|StoreFailed| task.fail()),
            None => Ok(()),
        }
    }

    /// Reports a changed state to operators.
    fn show(&mut self) {
        let reported = match (&self.restore, &self.paused) {
            (Some(_), _) => ReportedState::Restoring,
            (None, Some(_)) => ReportedState::Paused,
            (None, None) if self.reported == ReportedState::Joining => ReportedState::Joining,
            (None, None) => ReportedState::Working,
        };
        if reported == self.reported {
            return;
        }
        self.reported = reported;
        let part = &self.worker.part;
        match &self.paused {
            _ if reported == ReportedState::Restoring => part.waiting("restoring state"),
            Some((_, problem)) => part.waiting(format!("paused, the plug-in fails: {problem}")),
            None => part.ready(),
        }
    }

    /// Takes over a new plug-in between two batches. It may fix the failure, so it ends a pause.
    fn follow_plugin(&mut self) {
        let current = Arc::clone(&self.worker.plugin.borrow());
        if !Arc::ptr_eq(&current, &self.plugin) {
            self.plugin = current;
            self.tasks
                .values_mut()
                .for_each(PartitionTask::drop_instance);
            if let Some((until, _)) = &mut self.paused {
                *until = Instant::now();
            }
        }
    }
}

/// The worker's transactional producers, which report the offsets that they write in the changelog.
fn open_transactions(worker: &Worker) -> Result<TransactionalProducer, Error> {
    let id = format!("{}.{}", worker.step.group(), worker.name);
    let changelog = worker.step.state_topic();
    Ok(TransactionalProducer::open(
        &worker.client,
        &id,
        &changelog,
    )?)
}
