//! Measures the cost of an event: a plug-in processes the same events repeatedly.
//!
//! The measurement covers what a worker does with a batch, from its creation to its end. Reading
//! from Kafka and publishing the results are not part of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{Record, app::Step, kafka::record::Partition};
use serde_json::Value;

use super::inspect::Candidate;
use crate::{
    batch::{Batch, BatchLimits, Event, EventOutcome, Source},
    hot_swap,
    plugin::{Assignment, Instance},
    state::Stores,
};

/// An initialised instance of a plug-in, for one partition.
#[derive(Debug)]
pub struct Bench {
    step: Arc<Step>,
    source: Source,
    instance: Instance,
    stores: Stores,
}

/// The duration and size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    /// The time from the first batch to the end of the last one.
    pub time: Duration,
    /// The number of events in all batches.
    pub events: u64,
    /// The number of records that the plug-in has sent.
    pub sent: u64,
}

// === impl Bench ===

impl Bench {
    /// Starts the plug-in with the configuration of a step.
    ///
    /// # Errors
    /// Why the plug-in does not start.
    pub fn start(candidate: &Candidate, config: Value) -> Result<Self, String> {
        let step = Arc::new(candidate.step(config));
        hot_swap::check(&step, &candidate.plugin, None)?;
        let port: Arc<str> = candidate.plugin.declared.inputs[0].as_str().into();
        let partition = Partition {
            topic: Arc::clone(&port),
            number: 0,
        };
        let (mut stores, assignment) = (
            Stores::in_memory(),
            Assignment {
                step: &step,
                partition: 0,
            },
        );
        let instance = Instance::start(&candidate.plugin, assignment, &mut stores)
            .map_err(|failure| format!("it does not start: {failure}"))?;
        let source = Source { partition, port };
        Ok(Self {
            step,
            source,
            instance,
            stores,
        })
    }

    /// Processes a batch of events with these values, `batches` times. The records that the plug-in
    /// sends are discarded.
    ///
    /// # Errors
    /// If a call fails, or an event is not accepted: the cost would then not be comparable.
    pub fn run(&mut self, values: &[&[u8]], batches: u32) -> Result<Measurement, String> {
        let mut events: Vec<_> = (0..)
            .zip(values)
            .map(|(n, value)| self.event(n, value))
            .collect();
        let (start, mut sent) = (Instant::now(), 0);
        for _ in 0..batches {
            let records;
            (events, records) = self.batch(events)?;
            sent += records;
        }
        Ok(Measurement {
            time: start.elapsed(),
            events: u64::from(batches) * values.len() as u64,
            sent,
        })
    }

    /// Processes one batch. Returns its events, and the number of records sent.
    fn batch(&mut self, events: Vec<Event>) -> Result<(Vec<Event>, u64), String> {
        let limits = &self.step.limits;
        let batch = Batch::new(self.source.clone(), events, BatchLimits::new(limits.batch));
        let (batch, result) = self.instance.process(batch, &mut self.stores, limits.event);
        result.map_err(|failure| failure.to_string())?;
        let (finished, left, _) = batch.finish();
        let finished = finished.filter(|_| left.is_empty());
        let finished = finished.ok_or("it has not completed all events of a batch")?;
        // Commits as if the batch were published, so that changes of the stores do not accumulate.
        self.stores.commit(None);
        let events = finished
            .events
            .into_iter()
            .map(|(event, outcome)| match outcome {
                EventOutcome::Accepted => Ok(event),
                other => Err(format!("it has not accepted {:?}: {other:?}", event.record)),
            });
        Ok((
            events.collect::<Result<_, _>>()?,
            finished.outputs.len() as u64,
        ))
    }

    fn event(&self, offset: i64, value: &[u8]) -> Event {
        let partition = self.source.partition.clone();
        Event::first_attempt(Record::new(
            partition,
            offset,
            0,
            Some(b"a key"),
            Some(value),
            &[],
        ))
    }
}
