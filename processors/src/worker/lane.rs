//! What a worker keeps for one partition number: the stores and the instance. Topics of one step share it, because the
//! same keys have the same number in all of them.

use std::{sync::Arc, time::Instant};

use formline_core::{duplicates::Keyed, event};

use super::{
    Worker,
    input::{Input, Suspect},
    migrate::{self, Migration, Rehearsal},
};
use crate::{
    batch::{Batch, Event, Finished, Limits, Parked},
    error::Error,
    plugin::{self, Failure, Instance, Place, Plugin},
    state::{Broken, Stores},
    trial::Score,
};

/// One partition number.
#[derive(Debug)]
pub(super) struct Lane {
    number: i32,
    pub(super) stores: Stores,
    instance: Option<Instance>,
    /// The stores have the schema versions of the plug-in.
    is_migrated: bool,
    rehearsal: Rehearsal,
}

/// How work on a batch has ended.
#[derive(Debug)]
pub(super) enum Worked {
    /// Well. What there is to publish, if anything.
    Done(Option<Finished>),
    /// The plug-in has failed at an event, which is tried again, or given up if this was its second try.
    Failed(Option<Finished>),
    /// The plug-in fails without any event being to blame.
    Broken(Failure),
    /// The stores were worked on instead; no event was. What has changed has to be published first.
    Migrating,
}

/// An event that took too long gets so much more time at its second try; the machine may have been busy.
const PATIENCE: u32 = 4;

// === impl Lane ===

impl Lane {
    pub(super) fn open(worker: &Worker, plugin: &Plugin, number: i32) -> Result<Self, Error> {
        // Only with stores are the same partitions of all inputs sure to be with the same worker.
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
            rehearsal: Rehearsal::default(),
        })
    }

    /// The next batch gets a new instance.
    pub(super) fn drop_instance(&mut self) {
        self.instance = None;
        self.is_migrated = false;
        self.rehearsal = Rehearsal::default();
    }

    /// Marks events that this group has had before: replays for others, and repetitions of submissions.
    pub(super) fn recognise(
        &mut self,
        worker: &Worker,
        input: &Input,
        events: &mut [Event],
    ) -> Result<(), Broken> {
        let group = worker.step.group();
        for event in events {
            event.is_duplicate |= !event::is_for(&event.record, &group);
            if input.is_form
                && let Some(keyed) = Keyed::of(&event.record)
            {
                event.is_duplicate |= self.stores.is_repetition(&keyed, &event.record)?;
            }
        }
        Ok(())
    }

    /// Works on events that were taken from an input. An error is the state file's.
    pub(super) fn work(
        &mut self,
        worker: &Worker,
        plugin: &Arc<Plugin>,
        input: &mut Input,
        events: Vec<Event>,
    ) -> Result<Worked, Broken> {
        let mut instance = match self.start(worker, plugin)? {
            Ok((instance, Migration::Done)) => instance,
            Ok((instance, Migration::Slice)) => {
                self.instance = Some(instance);
                input.put_back(events);
                return Ok(Worked::Migrating);
            }
            Err(failure) => {
                input.put_back(events);
                return Ok(Worked::Broken(failure));
            }
        };
        self.stores.end_events();
        self.stores.sweep(events.len())?;
        let mark = self.stores.mark();
        let patience = patience(input, &events);
        let limits = &worker.step.limits;
        let batch = Batch::new(
            input.source.clone(),
            events,
            Limits::new(limits.batch * patience),
        );
        let begun = Instant::now();
        let (batch, result) = instance.process(batch, &mut self.stores, limits.event * patience);
        worker.metrics.call.observe(begun.elapsed().as_secs_f64());
        match result {
            Ok(()) => {
                self.instance = Some(instance);
                Ok(Worked::Done(finish(worker, batch, input)))
            }
            Err(_) if self.stores.has_failed() => Err(Broken),
            Err(failure) => {
                self.stores.roll_back(mark);
                Ok(fail(worker, batch, input, failure))
            }
        }
    }

    /// What has failed, after the stores have said that they are broken.
    pub(super) fn fail<T>(&mut self) -> Result<T, Error> {
        let failure = self.stores.take_failure();
        Err(failure.expect("stores that are broken say why"))
    }

    /// The instance, with stores that are as it declares them, or on the way there.
    fn start(
        &mut self,
        worker: &Worker,
        plugin: &Arc<Plugin>,
    ) -> Result<Result<(Instance, Migration), Failure>, Broken> {
        let step = &worker.step;
        let place = Place {
            step,
            partition: self.number,
        };
        let started = match self.instance.take() {
            Some(instance) => Ok(instance),
            None => Instance::start(plugin, place, &mut self.stores),
        };
        let mut instance = match started {
            Ok(instance) => instance,
            Err(_) if self.stores.has_failed() => return Err(Broken),
            Err(failure) => return Ok(Err(failure)),
        };
        if self.is_migrated {
            return Ok(Ok((instance, Migration::Done)));
        }
        let mark = self.stores.mark();
        self.stores.end_events();
        let stores = (&mut self.stores, &mut self.rehearsal);
        match migrate::advance(stores, plugin, &mut instance, step.limits.event)? {
            Ok(migration) => {
                self.is_migrated = migration == Migration::Done;
                Ok(Ok((instance, migration)))
            }
            Err(failure) => {
                self.stores.roll_back(mark);
                Ok(Err(failure))
            }
        }
    }
}

/// Gives up the first of the events without asking the plug-in.
pub(super) fn park(input: &mut Input, mut events: Vec<Event>, parked: Parked) -> Worked {
    if events.is_empty() {
        return Worked::Done(None);
    }
    let event = events.remove(0);
    input.put_back(events);
    Worked::Done(Some(Finished::parked(input.source.clone(), event, parked)))
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
        input.wait(delay);
    }
    let has_passed = |event: &Event| input.suspect_at(event).is_some();
    if finished
        .iter()
        .flat_map(|done| &done.settled)
        .any(|(event, _)| has_passed(event))
    {
        input.set_suspect(None);
    }
    finished
}

/// Takes a batch back whose call has failed. The event that the plug-in had last is to blame.
fn fail(worker: &Worker, batch: Batch, input: &mut Input, failure: Failure) -> Worked {
    let source = batch.source.clone();
    let (mut events, blamed) = batch.take_back();
    let partition = &source.partition;
    let step = worker.step.title();
    let Some(index) = blamed else {
        input.put_back(events);
        return Worked::Broken(failure);
    };
    worker.metrics.trap(failure.reason);
    worker.tally.add(Score::failures_only(1));
    let offset = events[index].record.offset;
    let attempts = events[index].attempts;
    // The detail is not logged: a panic's message may quote the submission.
    tracing::warn!(
        step,
        topic = &*partition.topic,
        partition = partition.number,
        offset,
        attempts,
        reason = failure.reason,
        "the plug-in has failed at an event"
    );
    if input.suspect_at(&events[index]).is_none() {
        input.put_back(events);
        input.set_suspect(Some(Suspect { offset, failure }));
        return Worked::Failed(None);
    }
    input.set_suspect(None);
    let event = events.remove(index);
    input.put_back(events);
    let Failure { reason, detail } = failure;
    let parked = Parked {
        kind: reason,
        code: reason.to_owned(),
        detail,
        attempts,
    };
    Worked::Failed(Some(Finished::parked(source, event, parked)))
}
