//! Judges a new plug-in by what it makes of events: of recent ones before it is published, with its outputs discarded, and
//! of the step's own afterwards.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use formline_core::{
    Client, Record,
    app::Step,
    client,
    progress::Progress,
    reader::{From, Range, Reader},
    record::Partition,
};

use crate::{
    batch::{Batch, Event, Limits, Outcome, Source},
    plugin::{Failure, Instance, Place, Plugin},
    state::Stores,
};

/// How a plug-in has done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Score {
    /// Events that it has settled.
    pub(crate) events: u64,
    /// Events that it has rejected, and calls that have failed.
    pub(crate) failed: u64,
}

/// The score of the plug-in that a step runs, kept by all its workers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    events: AtomicU64,
    failed: AtomicU64,
    /// It has begun to bring entries into another form.
    has_migrated: AtomicBool,
}

/// Recent events of a step, by partition.
#[derive(Debug)]
pub(crate) struct Sample(Vec<(Source, Vec<Record>)>);

/// Fewer failures say nothing: one strange submission must not decide.
pub(crate) const FEW: u64 = 3;

/// Events that make a score comparable.
const ENOUGH: u64 = 10;

/// Of so many recent events the sample consists, and so long it may take to read them, and to work on them.
const EVENTS: i64 = 200;
const READING: Duration = Duration::from_secs(3);
const WORKING: Duration = Duration::from_secs(5);

// === impl Score ===

impl Score {
    /// What one settled event counts.
    pub(crate) fn of(outcome: &Outcome) -> Self {
        Self {
            events: 1,
            failed: u64::from(matches!(outcome, Outcome::Parked(_))),
        }
    }

    /// Calls that have failed without settling an event.
    pub(crate) fn failures_only(failed: u64) -> Self {
        Self { events: 0, failed }
    }

    /// Whether it fails far more often than another one: twice as often and at least one event in ten more.
    pub(crate) fn is_far_worse_than(self, other: Self) -> bool {
        self.failed >= FEW
            && other.events >= ENOUGH
            && self.failures() > 2.0 * other.failures() + 0.1
    }

    /// Failures for each event. A plug-in that only traps has settled none.
    #[allow(clippy::cast_precision_loss)] // it is a ratio
    fn failures(self) -> f64 {
        self.failed as f64 / self.events.max(1) as f64
    }
}

impl std::ops::Add for Score {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            failed: self.failed + other.failed,
        }
    }
}

// === impl Tally ===

impl Tally {
    pub(crate) fn add(&self, score: Score) {
        self.events.fetch_add(score.events, Ordering::Relaxed);
        self.failed.fetch_add(score.failed, Ordering::Relaxed);
    }

    pub(crate) fn score(&self) -> Score {
        Score {
            events: self.events.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn note_migration(&self) {
        self.has_migrated.store(true, Ordering::Relaxed);
    }

    /// Whether stores are as the plug-in found them, as far as anybody knows.
    pub(crate) fn is_untouched(&self) -> bool {
        self.score().events == 0 && !self.has_migrated.load(Ordering::Relaxed)
    }

    /// Begins anew and returns the score so far. Results of batches that are still under way count for the next
    /// plug-in; they are few.
    pub(crate) fn restart(&self) -> Score {
        self.has_migrated.store(false, Ordering::Relaxed);
        Score {
            events: self.events.swap(0, Ordering::Relaxed),
            failed: self.failed.swap(0, Ordering::Relaxed),
        }
    }
}

// === impl Sample ===

impl Sample {
    /// Reads recent events of the step's inputs. Blocks the thread, for seconds at most.
    pub(crate) fn read(
        client: &Client,
        step: &Step,
        proceed: impl Fn() -> bool,
    ) -> Result<Self, client::Error> {
        let end = Instant::now() + READING;
        let ends = Progress::open(client, vec![step.stage()])?.ends_to_pass(0)?;
        let each = EVENTS / i64::try_from(ends.len()).unwrap_or(i64::MAX).max(1);
        let mut ranges: BTreeMap<String, Vec<Range>> = BTreeMap::new();
        for (topic, partition, end) in ends {
            ranges.entry(topic).or_default().push(Range {
                partition,
                from: From::Offset((end - each.max(1)).max(0)),
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

    /// Lets a plug-in work on the events, beginning with empty stores. Whatever it sends or stores is discarded.
    pub(crate) fn try_on(&self, plugin: &Plugin, step: &Arc<Step>) -> Result<Score, Failure> {
        let (mut score, end) = (Score::default(), Instant::now() + WORKING);
        for (source, records) in &self.0 {
            score = score + work(plugin, step, source, records, end)?;
        }
        Ok(score)
    }
}

/// Works on the events of one partition, as a worker would, without a second try.
fn work(
    plugin: &Plugin,
    step: &Arc<Step>,
    source: &Source,
    records: &[Record],
    end: Instant,
) -> Result<Score, Failure> {
    let partition = source.partition.number;
    let place = Place { step, partition };
    let mut stores = Stores::in_memory();
    let mut instance = Instance::start(plugin, place, &mut stores)?;
    let mut score = Score::default();
    let mut left: Vec<Event> = records.iter().cloned().map(Event::first_try).collect();
    while !left.is_empty() && Instant::now() < end {
        let limits = Limits::new(step.limits.batch);
        let batch = Batch::new(source.clone(), mem::take(&mut left), limits);
        let (batch, result) = instance.process(batch, &mut stores, step.limits.event);
        match result {
            Ok(()) => {
                let (finished, rest, retry) = batch.finish();
                // An event that wants to come later is passed over: there is no later here.
                left = rest
                    .into_iter()
                    .skip(usize::from(retry.is_some()))
                    .collect();
                let settled = finished.iter().flat_map(|finished| &finished.settled);
                score = settled.fold(score, |score, (_, outcome)| score + Score::of(outcome));
            }
            Err(_) => {
                let (events, blamed) = batch.take_back();
                let done = blamed.map_or(events.len(), |index| index + 1);
                score.events += done as u64;
                score.failed += 1;
                left = events.into_iter().skip(done).collect();
                stores = Stores::in_memory();
                instance = Instance::start(plugin, place, &mut stores)?;
            }
        }
    }
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(failed: u64, events: u64) -> Score {
        Score { events, failed }
    }

    #[test]
    fn only_a_clear_difference_counts() {
        let usual = score(2, 100);
        assert!(score(20, 100).is_far_worse_than(usual));
        assert!(score(3, 0).is_far_worse_than(usual), "it only traps");
        for (new, old) in [
            (score(2, 4), usual),
            (score(12, 100), usual),
            (score(60, 100), score(40, 100)),
            (score(9, 9), score(0, 9)),
        ] {
            assert!(!new.is_far_worse_than(old), "{new:?} after {old:?}");
        }
    }
}
