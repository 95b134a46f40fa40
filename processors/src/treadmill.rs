//! A plug-in that gets the same events again and again, to measure what an event costs.
//!
//! The call is a worker's own, from the new batch to its end. What lies around it is left out: nothing is read from
//! Kafka, and nothing that comes of the events is published.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{Record, app::Step, record::Partition};
use serde_json::Value;

use crate::{
    batch::{Batch, Event, Limits, Outcome, Source},
    plugin::{Instance, Place},
    state::Stores,
    watcher,
    workbench::Candidate,
};

/// One partition's instance of a plug-in, which has been initialised.
#[derive(Debug)]
pub struct Treadmill {
    step: Arc<Step>,
    source: Source,
    instance: Instance,
    stores: Stores,
}

/// What batches have taken.
#[derive(Clone, Copy, Debug)]
pub struct Lap {
    /// From the first batch to the end of the last one.
    pub time: Duration,
    /// Events of all batches together.
    pub events: u64,
    /// Records that the plug-in has sent.
    pub sent: u64,
}

// === impl Treadmill ===

impl Treadmill {
    /// Starts the plug-in with the configuration of a step. The error says why it does not start.
    pub fn start(candidate: &Candidate, config: Value) -> Result<Self, String> {
        let step = Arc::new(candidate.step(config));
        watcher::check(&step, &candidate.plugin, None)?;
        let port: Arc<str> = candidate.plugin.declared.inputs[0].as_str().into();
        let partition = Partition {
            topic: Arc::clone(&port),
            number: 0,
        };
        let (mut stores, place) = (
            Stores::in_memory(),
            Place {
                step: &step,
                partition: 0,
            },
        );
        let instance = Instance::start(&candidate.plugin, place, &mut stores)
            .map_err(|failure| format!("it does not start: {failure}"))?;
        let source = Source { partition, port };
        Ok(Self {
            step,
            source,
            instance,
            stores,
        })
    }

    /// Gives the plug-in a batch of events with these values, so many times. Whatever it sends is discarded. It is an
    /// error if one of them is not accepted: what it costs then is something else.
    pub fn run(&mut self, values: &[&[u8]], batches: u32) -> Result<Lap, String> {
        let mut events: Vec<_> = (0..)
            .zip(values)
            .map(|(n, value)| self.event(n, value))
            .collect();
        let (begun, mut sent) = (Instant::now(), 0);
        for _ in 0..batches {
            let records;
            (events, records) = self.batch(events)?;
            sent += records;
        }
        Ok(Lap {
            time: begun.elapsed(),
            events: u64::from(batches) * values.len() as u64,
            sent,
        })
    }

    /// Works through one batch. Gives the events back, and how many records were sent.
    fn batch(&mut self, events: Vec<Event>) -> Result<(Vec<Event>, u64), String> {
        let limits = &self.step.limits;
        let batch = Batch::new(self.source.clone(), events, Limits::new(limits.batch));
        let (batch, result) = self.instance.process(batch, &mut self.stores, limits.event);
        result.map_err(|failure| failure.to_string())?;
        let (finished, left, _) = batch.finish();
        let finished = finished.filter(|_| left.is_empty());
        let finished = finished.ok_or("it has not settled all events of a batch")?;
        // As if it were published: or changes of the stores would pile up.
        self.stores.commit(None);
        let events = finished
            .settled
            .into_iter()
            .map(|(event, outcome)| match outcome {
                Outcome::Accepted => Ok(event),
                other => Err(format!("it has not accepted {:?}: {other:?}", event.record)),
            });
        Ok((
            events.collect::<Result<_, _>>()?,
            finished.outputs.len() as u64,
        ))
    }

    fn event(&self, offset: i64, value: &[u8]) -> Event {
        let partition = self.source.partition.clone();
        Event::first_try(Record::new(
            partition,
            offset,
            0,
            Some(b"a key"),
            Some(value),
            &[],
        ))
    }
}
