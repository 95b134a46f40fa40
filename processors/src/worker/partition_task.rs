//! The stores and the instance of one partition number. All topics of a step share them, because
//! the same keys have the same partition number in all topics.

use std::{sync::Arc, time::Instant};

use formline_core::event::{self, dedup::KeyedSubmission};

use super::{
    Worker,
    input::{Input, Suspect},
    migrate::{self, DryRun, Migration},
};
use crate::{
    batch::{Batch, BatchLimits, DeadLetterReason, Event, Finished},
    error::Error,
    hot_swap::Score,
    plugin::{self, Assignment, Failure, Instance, Plugin},
    state::{StoreFailed, Stores},
};

/// The processing of one partition number.
#[derive(Debug)]
pub(super) struct PartitionTask {
    number: i32,
    pub(super) stores: Stores,
    instance: Option<Instance>,
    /// Whether the stores have the schema versions that the plug-in declares.
    is_migrated: bool,
    dry_run: DryRun,
}

/// The result of processing a batch.
#[derive(Debug)]
pub(super) enum WorkResult {
    /// The batch succeeded. Contains what is to be published, if anything.
    Done(Option<Finished>),
    /// The plug-in failed for an event, which is retried, or dead-lettered after its second
    /// attempt.
    EventFailed(Option<Finished>),
    /// The plug-in failed, and no event is the cause.
    PluginFailed(Failure),
    /// A slice of a migration was processed instead of events. Its changes must be published first.
    Migrating,
}

/// The factor by which an event that took too long gets more time at its second attempt: the
/// machine may have been busy.
const PATIENCE: u32 = 4;

// === impl PartitionTask ===

impl PartitionTask {
    pub(super) fn open(worker: &Worker, plugin: &Plugin, number: i32) -> Result<Self, Error> {
        // Without stores, the partitions of one number may be assigned to different workers.
        let folder = if plugin.facts.stores.is_empty() {
            worker.state.join(&worker.name)
        } else {
            worker.state.clone()
        };
        let path = folder.join(format!("{number}.redb"));
        Ok(Self {
            number,
            stores: Stores::open(path, worker.step.limits.state)?,
            instance: None,
            is_migrated: false,
            dry_run: DryRun::default(),
        })
    }

    /// Drops the instance, so that the next batch gets a new one.
    pub(super) fn drop_instance(&mut self) {
        self.instance = None;
        self.is_migrated = false;
        self.dry_run = DryRun::default();
    }

    /// Marks events that this group has already received: replays for other groups, and repeated
    /// submissions.
    pub(super) fn mark_duplicates(
        &mut self,
        worker: &Worker,
        input: &Input,
        events: &mut [Event],
    ) -> Result<(), StoreFailed> {
        let group = worker.step.group();
        for event in events {
            event.is_duplicate |= !event::is_for(&event.record, &group);
            if input.is_form
                && let Some(keyed) = KeyedSubmission::from_record(&event.record)
            {
                event.is_duplicate |= self.stores.is_repetition(&keyed, &event.record)?;
            }
        }
        Ok(())
    }

    /// Processes events that were taken from an input. An error means that the state file has
    /// failed.
    pub(super) fn work(
        &mut self,
        worker: &Worker,
        plugin: &Arc<Plugin>,
        input: &mut Input,
        events: Vec<Event>,
    ) -> Result<WorkResult, StoreFailed> {
        let mut instance = match self.start(worker, plugin)? {
            Ok((instance, Migration::Done)) => instance,
            Ok((instance, Migration::Slice)) => {
                self.instance = Some(instance);
                input.put_back(events);
                return Ok(WorkResult::Migrating);
            }
            Err(failure) => {
                input.put_back(events);
                return Ok(WorkResult::PluginFailed(failure));
            }
        };
        self.stores.end_events();
        self.stores.delete_expired(events.len())?;
        let savepoint = self.stores.savepoint();
        let patience = patience(input, &events);
        let limits = &worker.step.limits;
        let batch = Batch::new(
            input.source.clone(),
            events,
            BatchLimits::new(limits.batch * patience),
        );
        let begun = Instant::now();
        let (batch, result) = instance.process(batch, &mut self.stores, limits.event * patience);
        worker.metrics.call.observe(begun.elapsed().as_secs_f64());
        match result {
            Ok(()) => {
                self.instance = Some(instance);
                Ok(WorkResult::Done(finish(worker, batch, input)))
            }
            Err(_) if self.stores.has_failed() => Err(StoreFailed),
            Err(failure) => {
                self.stores.roll_back(savepoint);
                Ok(fail(worker, batch, input, failure))
            }
        }
    }

    /// Returns the cause of a [`StoreFailed`].
    pub(super) fn fail<T>(&mut self) -> Result<T, Error> {
        let failure = self.stores.take_failure();
        Err(failure.expect("stores that have failed contain the cause"))
    }

    /// The instance, and the progress of the migration of its stores.
    fn start(
        &mut self,
        worker: &Worker,
        plugin: &Arc<Plugin>,
    ) -> Result<Result<(Instance, Migration), Failure>, StoreFailed> {
        let step = &worker.step;
        let assignment = Assignment {
            step,
            partition: self.number,
        };
        let started = match self.instance.take() {
            Some(instance) => Ok(instance),
            None => Instance::start(plugin, assignment, &mut self.stores),
        };
        let mut instance = match started {
            Ok(instance) => instance,
            Err(_) if self.stores.has_failed() => return Err(StoreFailed),
            Err(failure) => return Ok(Err(failure)),
        };
        if self.is_migrated {
            return Ok(Ok((instance, Migration::Done)));
        }
        let savepoint = self.stores.savepoint();
        self.stores.end_events();
        let stores = (&mut self.stores, &mut self.dry_run);
        match migrate::advance(stores, plugin, &mut instance, step.limits.event)? {
            Ok(migration) => {
                self.is_migrated = migration == Migration::Done;
                Ok(Ok((instance, migration)))
            }
            Err(failure) => {
                self.stores.roll_back(savepoint);
                Ok(Err(failure))
            }
        }
    }
}

/// Dead-letters the first of the events without calling the plug-in.
pub(super) fn dead_letter(
    input: &mut Input,
    mut events: Vec<Event>,
    reason: DeadLetterReason,
) -> WorkResult {
    if events.is_empty() {
        return WorkResult::Done(None);
    }
    let event = events.remove(0);
    input.put_back(events);
    WorkResult::Done(Some(Finished::dead_lettered(
        input.source.clone(),
        event,
        reason,
    )))
}

fn patience(input: &Input, events: &[Event]) -> u32 {
    let suspect = events.first().and_then(|first| input.suspect_at(first));
    match suspect {
        Some(suspect) if suspect.failure.reason == plugin::DEADLINE => PATIENCE,
        _ => 1,
    }
}

fn finish(worker: &Worker, batch: Batch, input: &mut Input) -> Option<Finished> {
    let (finished, left, retry) = batch.finish();
    input.put_back(left);
    if let Some(delay) = retry {
        worker.metrics.events("retry-later", 1);
        input.delay(delay);
    }
    let has_passed = |event: &Event| input.suspect_at(event).is_some();
    if finished
        .iter()
        .flat_map(|done| &done.events)
        .any(|(event, _)| has_passed(event))
    {
        input.set_suspect(None);
    }
    finished
}

/// Returns the events of a failed call to the input. The event that the plug-in received last is
/// the cause.
fn fail(worker: &Worker, batch: Batch, input: &mut Input, failure: Failure) -> WorkResult {
    let source = batch.source.clone();
    let (mut events, blamed) = batch.abort();
    let partition = &source.partition;
    let step = worker.step.title();
    let Some(index) = blamed else {
        input.put_back(events);
        return WorkResult::PluginFailed(failure);
    };
    worker.metrics.trap(failure.reason);
    worker.score.add(Score::failures_only(1));
    let offset = events[index].record.offset;
    let attempts = events[index].attempts;
    // The detail is not logged, because the message of a panic may quote the submission.
    tracing::warn!(
        step,
        topic = &*partition.topic,
        partition = partition.number,
        offset,
        attempts,
        reason = failure.reason,
        "the plug-in failed for an event"
    );
    if input.suspect_at(&events[index]).is_none() {
        input.put_back(events);
        input.set_suspect(Some(Suspect { offset, failure }));
        return WorkResult::EventFailed(None);
    }
    input.set_suspect(None);
    let event = events.remove(index);
    input.put_back(events);
    let Failure { reason, detail } = failure;
    let reason = DeadLetterReason {
        kind: reason,
        code: reason.to_owned(),
        detail,
        attempts,
    };
    WorkResult::EventFailed(Some(Finished::dead_lettered(source, event, reason)))
}
