//! Brings from Kafka what a worker must know of new partitions before their first event, and what their files do not say:
//! state and earlier submissions.
//!
//! It reads in slices, so that the worker polls its consumer in between and stays a member however long this takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use formline_core::{
    Consumer,
    duplicates::{Known, Recall},
    reader::{From, Range, Reader},
    record::Partition,
};

use jiff::Timestamp;

use super::{Worker, input::Input, lane::Lane};
use crate::{batch::Source, error::Error, plugin::Plugin, state::Broken};

/// What has come so far.
#[derive(Debug)]
pub(super) struct Restore {
    /// Each new partition with its committed offset.
    next: BTreeMap<Partition, i64>,
    lanes: BTreeMap<i32, Lane>,
    /// Until it is read to its end.
    changelog: Option<Reader>,
    /// Topics of forms that are still to be read; none before the changelog is read.
    recalls: Option<Vec<Recall>>,
    /// Offsets that the changelog's reader had before it, once they are known.
    total: Option<i64>,
    told: Instant,
    /// What is restored holds everything that was there at this time, in milliseconds since 1970.
    begun_ms: i64,
}

/// How often operators hear how far it is.
const TELLING: Duration = Duration::from_secs(2);

// === impl Restore ===

impl Restore {
    /// Begins for partitions that the consumer does not fetch yet. Blocks while it asks Kafka.
    pub(super) fn begin(
        worker: &Worker,
        plugin: &Plugin,
        consumer: &mut Consumer,
        partitions: Vec<Partition>,
    ) -> Result<Self, Error> {
        // First the offsets: Kafka answers only when the last transaction of the partitions' former owner is settled,
        // so the changelog holds at least what belongs to them.
        let committed: BTreeMap<_, _> = consumer.committed()?.into_iter().collect();
        let numbers: BTreeSet<i32> = partitions.iter().map(|it| it.number).collect();
        let mut lanes = BTreeMap::new();
        for number in numbers {
            let mut lane = Lane::open(worker, plugin, number)?;
            if plugin.facts.stores.is_empty() && lane.stores.resume_at().is_some() {
                // An earlier plug-in has kept state, and nobody follows its changelog now.
                lane.stores.forget();
            }
            lanes.insert(number, lane);
        }
        let mut next = BTreeMap::new();
        for partition in partitions {
            let offset = committed.get(&partition).copied();
            if let Some(lane) = lanes.get_mut(&partition.number)
                && let Some(known) = lane.stores.submissions_known(&partition.topic)
                && offset.is_none_or(|offset| offset < known)
            {
                // Offsets do not go back by themselves: it is another topic of that name, or an operator begins anew.
                lane.stores.forget();
            }
            next.insert(partition, offset.unwrap_or(0));
        }
        let mut restore = Self {
            next,
            lanes,
            changelog: None,
            recalls: None,
            total: None,
            told: Instant::now(),
            begun_ms: Timestamp::now().as_millisecond(),
        };
        if !plugin.facts.stores.is_empty() {
            let numbers = restore.lanes.keys().copied().collect();
            restore.read_changelog(worker, numbers)?;
        }
        Ok(restore)
    }

    fn read_changelog(&mut self, worker: &Worker, numbers: Vec<i32>) -> Result<(), Error> {
        let lanes = &self.lanes;
        let range = |number| Range {
            partition: number,
            from: match lanes.get(&number).and_then(|lane| lane.stores.resume_at()) {
                Some(offset) => From::Offset(offset),
                None => From::Beginning,
            },
            until: None,
        };
        let ranges: Vec<_> = numbers.into_iter().map(range).collect();
        if !ranges.is_empty() {
            let topic = worker.step.state_topic();
            self.changelog = Some(Reader::open_ranges(&worker.client, &topic, ranges)?);
            self.total = None;
        }
        Ok(())
    }

    /// Reads for about as long as `limit`; true when everything is there.
    pub(super) fn advance(&mut self, worker: &Worker, limit: Duration) -> Result<bool, Error> {
        if self.changelog.is_some() {
            self.advance_changelog(worker, limit)?;
            return Ok(false);
        }
        let Some(recalls) = &mut self.recalls else {
            self.recalls = Some(begin_recalls(worker, &self.next, &self.lanes)?);
            return Ok(false);
        };
        let Some(mut recall) = recalls.pop() else {
            return Ok(true);
        };
        let (lanes, mut failed) = (&mut self.lanes, None);
        let is_read = recall.advance(limit, |keyed, record| {
            let number = record.partition.number;
            let lane = lanes.get_mut(&number);
            if lane.is_some_and(|lane| lane.stores.is_repetition(&keyed, record).is_err()) {
                failed = Some(number);
            }
        })?;
        if !is_read {
            recalls.push(recall);
        }
        self.check(failed)?;
        self.write_due()?;
        Ok(false)
    }

    fn advance_changelog(&mut self, worker: &Worker, limit: Duration) -> Result<(), Error> {
        let Some(changelog) = &mut self.changelog else {
            return Ok(());
        };
        let (lanes, mut failed, mut records) = (&mut self.lanes, None, 0);
        let is_read = changelog.advance(limit, |record| {
            records += 1;
            let number = record.partition.number;
            let lane = lanes.get_mut(&number);
            if lane.is_some_and(|lane| lane.stores.restore(&record).is_err()) {
                failed = Some(number);
            }
        })?;
        worker.metrics.restored(records);
        self.total = self.total.or(changelog.left());
        self.check(failed)?;
        self.write_due()?;
        if !is_read {
            return Ok(());
        }
        self.changelog = None;
        let mut strange = Vec::new();
        for (number, lane) in &mut self.lanes {
            if !lane.stores.is_proven() {
                tracing::warn!(
                    step = worker.step.title(),
                    partition = number,
                    "the changelog is not the one that the state file was made of, so the file is made anew"
                );
                lane.stores.forget();
                strange.push(*number);
            }
        }
        self.read_changelog(worker, strange)?;
        if self.changelog.is_none() {
            self.go_on_behind_state(worker)?;
        }
        Ok(())
    }

    /// What the state contains must not be counted again, whatever became of the group's offsets.
    fn go_on_behind_state(&mut self, worker: &Worker) -> Result<(), Error> {
        for (partition, next) in &mut self.next {
            let Some(lane) = self.lanes.get_mut(&partition.number) else {
                continue;
            };
            let known = lane.stores.input(&partition.topic);
            let known = known.or_else(|Broken| lane.fail())?.unwrap_or(0);
            if known > *next {
                tracing::warn!(
                    step = worker.step.title(),
                    topic = &*partition.topic,
                    partition = partition.number,
                    committed = *next,
                    known,
                    "the state contains more than the group has committed; the step goes on behind it"
                );
                *next = known;
            }
        }
        Ok(())
    }

    /// Keeps what is in memory small, and what was read once.
    fn write_due(&mut self) -> Result<(), Error> {
        for lane in self.lanes.values_mut() {
            if lane.stores.is_due() {
                lane.stores.write().or_else(|Broken| lane.fail())?;
            }
        }
        Ok(())
    }

    fn check(&mut self, failed: Option<i32>) -> Result<(), Error> {
        let lane = failed.and_then(|number| self.lanes.get_mut(&number));
        lane.map_or(Ok(()), Lane::fail)
    }

    /// Tells operators how far it is, now and then.
    pub(super) fn tell(&mut self, worker: &Worker) {
        if self.told.elapsed() < TELLING {
            return;
        }
        self.told = Instant::now();
        let left = self.changelog.as_ref().and_then(Reader::left);
        let progress = match (left, self.total) {
            (Some(left), Some(total)) => {
                format!("restoring state: {} of {total} changes", total - left)
            }
            _ => "restoring state".to_owned(),
        };
        tracing::info!(
            step = worker.step.title(),
            worker = worker.name,
            "{progress}"
        );
        worker.part.waiting(progress);
    }

    /// The partitions, ready to be worked on.
    pub(super) fn finish(
        self,
        worker: &Worker,
    ) -> (BTreeMap<Partition, Input>, BTreeMap<i32, Lane>) {
        let (mut inputs, mut lanes) = (BTreeMap::new(), self.lanes);
        for (partition, next) in self.next {
            let port = worker.step.port_of(&partition.topic);
            let source = Source {
                partition: partition.clone(),
                port: port.unwrap_or_default().into(),
            };
            let is_form = worker.form_topics.contains(&*partition.topic);
            if let (true, Some(lane)) = (is_form, lanes.get_mut(&partition.number)) {
                lane.stores.know_submissions(&partition.topic, next);
            }
            inputs.insert(partition, Input::new(source, next, is_form));
        }
        for lane in lanes.values_mut() {
            lane.stores.begin(self.begun_ms);
        }
        (inputs, lanes)
    }

    /// What was restored so far.
    pub(super) fn give_up(self) -> BTreeMap<i32, Lane> {
        self.lanes
    }
}

/// One for each topic of a form: only there can a submission stand twice.
fn begin_recalls(
    worker: &Worker,
    next: &BTreeMap<Partition, i64>,
    lanes: &BTreeMap<i32, Lane>,
) -> Result<Vec<Recall>, Error> {
    let mut by_topic: BTreeMap<&str, Vec<Known>> = BTreeMap::new();
    for (partition, next) in next {
        if worker.form_topics.contains(&*partition.topic) {
            let lane = lanes.get(&partition.number);
            let until = lane.and_then(|lane| lane.stores.submissions_known(&partition.topic));
            let of_topic = by_topic.entry(&partition.topic).or_default();
            of_topic.push(Known {
                partition: partition.number,
                next: *next,
                until,
            });
        }
    }
    let mut recalls = Vec::with_capacity(by_topic.len());
    for (topic, consumers) in by_topic {
        recalls.push(Recall::begin(&worker.client, topic, consumers)?);
    }
    Ok(recalls)
}
