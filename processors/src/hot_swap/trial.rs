//! The trial of a plug-in: it processes recent events before it is published, and its outputs are
//! discarded.

use std::{
    collections::BTreeMap,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{
    Client, Record,
    app::Step,
    kafka::{
        client::ClientError,
        group_progress::GroupProgress,
        reader::{PartitionRange, Reader, StartOffset},
        record::Partition,
    },
};

use super::score::Score;
use crate::{
    batch::{Batch, BatchLimits, Event, Source},
    plugin::{Assignment, Failure, Instance, Plugin},
    state::Stores,
};

/// Recent events of a step, by partition.
#[derive(Debug)]
pub(super) struct Sample(Vec<(Source, Vec<Record>)>);

/// Sample size, and time limits for reading and processing it.
const EVENTS: i64 = 200;
const READING_TIME: Duration = Duration::from_secs(3);
const PROCESSING_TIME: Duration = Duration::from_secs(5);

// === impl Sample ===

impl Sample {
    /// Reads recent events of the step's inputs. Blocks the thread for a few seconds at most.
    pub(super) fn read(
        client: &Client,
        step: &Step,
        proceed: impl Fn() -> bool,
    ) -> Result<Self, ClientError> {
        let end = Instant::now() + READING_TIME;
        let ends = GroupProgress::open(client, vec![step.stage()])?.ends_to_pass(0)?;
        let each = EVENTS / i64::try_from(ends.len()).unwrap_or(i64::MAX).max(1);
        let mut ranges: BTreeMap<String, Vec<PartitionRange>> = BTreeMap::new();
        for (topic, partition, end) in ends {
            ranges.entry(topic).or_default().push(PartitionRange {
                partition,
                from: StartOffset::Offset((end - each.max(1)).max(0)),
                until: Some(end),
            });
        }
        let mut records: BTreeMap<Partition, Vec<Record>> = BTreeMap::new();
        for (topic, ranges) in ranges {
            let mut reader = Reader::open_ranges(client, &topic, ranges)?;
            reader.read_to_end(
                || Instant::now() < end && proceed(),
                |record| {
                    let partition = record.partition.clone();
                    records.entry(partition).or_default().push(record);
                },
            )?;
        }
        let source = |partition: Partition| Source {
            port: step.port_of(&partition.topic).unwrap_or_default().into(),
            partition,
        };
        let sample = records.into_iter();
        let sample = sample.map(|(partition, records)| (source(partition), records));
        Ok(Self(sample.collect()))
    }

    /// Lets a plug-in process the events, starting with empty stores. What it sends and stores is
    /// discarded.
    pub(super) fn run(&self, plugin: &Plugin, step: &Arc<Step>) -> Result<Score, Failure> {
        let (mut score, end) = (Score::default(), Instant::now() + PROCESSING_TIME);
        for (source, records) in &self.0 {
            score = score + run_partition(plugin, step, source, records, end)?;
        }
        Ok(score)
    }
}

/// Processes the events of one partition as a worker would, but without second attempts.
fn run_partition(
    plugin: &Plugin,
    step: &Arc<Step>,
    source: &Source,
    records: &[Record],
    end: Instant,
) -> Result<Score, Failure> {
    let partition = source.partition.number;
    let assignment = Assignment { step, partition };
    let mut stores = Stores::in_memory();
    let mut instance = Instance::start(plugin, assignment, &mut stores)?;
    let mut score = Score::default();
    let mut left: Vec<Event> = records.iter().cloned().map(Event::first_attempt).collect();
    while !left.is_empty() && Instant::now() < end {
        let limits = BatchLimits::new(step.limits.batch);
        let batch = Batch::new(source.clone(), mem::take(&mut left), limits);
        let (batch, result) = instance.process(batch, &mut stores, step.limits.event);
        match result {
            Ok(()) => {
                let (finished, rest, retry) = batch.finish();
                // A trial does not wait: a deferred event is skipped.
                left = rest
                    .into_iter()
                    .skip(usize::from(retry.is_some()))
                    .collect();
                let completed = finished.iter().flat_map(|finished| &finished.events);
                score = completed.fold(score, |score, (_, outcome)| score + Score::of(outcome));
            }
            Err(_) => {
                let (events, last) = batch.abort();
                let done = last.map_or(events.len(), |index| index + 1);
                score.events += done as u64;
                score.failed += 1;
                left = events.into_iter().skip(done).collect();
                stores = Stores::in_memory();
                instance = Instance::start(plugin, assignment, &mut stores)?;
            }
        }
    }
    Ok(score)
}
