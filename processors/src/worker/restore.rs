//! Reads from Kafka what a worker must know about new partitions before their first event and what
//! their files do not contain: state and earlier submissions.
//!
//! It reads in slices, so that the worker polls its consumer in between and remains a group member
//! however long the restore takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use formline_core::{
    Consumer,
    event::dedup::{DedupPosition, DedupReader},
    kafka::{
        reader::{PartitionRange, Reader, StartOffset},
        record::Partition,
    },
};

use jiff::Timestamp;

use super::{context::Worker, input::Input, partition_task::PartitionTask};
use crate::{batch::Source, error::Error, plugin::Plugin, state::StoreFailed};

/// The progress of a restore.
#[derive(Debug)]
pub(super) struct Restore {
    /// Each new partition with the offset at which it continues.
    next: BTreeMap<Partition, i64>,
    tasks: BTreeMap<i32, PartitionTask>,
    /// The reader of the changelog; none after its end.
    changelog: Option<Reader>,
    /// Topics of forms that are still to be read; none before the changelog has been read.
    recalls: Option<Vec<DedupReader>>,
    /// Offsets between the start of the changelog's reader and its end, once known.
    total: Option<i64>,
    reported: Instant,
    /// The restored state contains everything that existed at this time, in milliseconds since
    /// 1970.
    begun_ms: i64,
}

/// How often the progress is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

// === impl Restore ===

impl Restore {
    /// Starts the restore of partitions that the consumer does not fetch yet. Blocks while it asks
    /// Kafka.
    pub(super) fn begin(
        worker: &Worker,
        plugin: &Plugin,
        consumer: &mut Consumer,
        partitions: Vec<Partition>,
    ) -> Result<Self, Error> {
        // The offsets come first: Kafka answers only when the last transaction of the partitions'
        // former owner is complete, so the changelog contains at least what belongs to these
        // offsets.
        let committed: BTreeMap<_, _> = consumer.committed()?.into_iter().collect();
        let numbers: BTreeSet<i32> = partitions.iter().map(|it| it.number).collect();
        let mut tasks = BTreeMap::new();
        for number in numbers {
            let mut task = PartitionTask::open(worker, plugin, number)?;
            if plugin.facts.stores.is_empty() && task.stores.resume_at().is_some() {
                // An earlier plug-in had stores, whose changelog is no longer written.
                task.stores.forget();
            }
            tasks.insert(number, task);
        }
        let mut next = BTreeMap::new();
        for partition in partitions {
            let offset = committed.get(&partition).copied();
            if let Some(task) = tasks.get_mut(&partition.number)
                && let Some(known) = task.stores.submissions_known(&partition.topic)
                && offset.is_none_or(|offset| offset < known)
            {
                // Offsets never decrease by themselves: either the topic was recreated, or an
                // operator has reset the offsets.
                task.stores.forget();
            }
            next.insert(partition, offset.unwrap_or(0));
        }
        let mut restore = Self {
            next,
            tasks,
            changelog: None,
            recalls: None,
            total: None,
            reported: Instant::now(),
            begun_ms: Timestamp::now().as_millisecond(),
        };
        if !plugin.facts.stores.is_empty() {
            let numbers = restore.tasks.keys().copied().collect();
            restore.read_changelog(worker, numbers)?;
        }
        Ok(restore)
    }

    fn read_changelog(&mut self, worker: &Worker, numbers: Vec<i32>) -> Result<(), Error> {
        let tasks = &self.tasks;
        let range = |number| PartitionRange {
            partition: number,
            from: match tasks.get(&number).and_then(|task| task.stores.resume_at()) {
                Some(offset) => StartOffset::Offset(offset),
                None => StartOffset::Beginning,
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

    /// Reads for about `limit`. True when everything is restored.
    pub(super) fn advance(&mut self, worker: &Worker, limit: Duration) -> Result<bool, Error> {
        if self.changelog.is_some() {
            self.advance_changelog(worker, limit)?;
            return Ok(false);
        }
        let Some(recalls) = &mut self.recalls else {
            self.recalls = Some(begin_recalls(worker, &self.next, &self.tasks)?);
            return Ok(false);
        };
        let Some(mut recall) = recalls.pop() else {
            return Ok(true);
        };
        let (tasks, mut failed) = (&mut self.tasks, None);
        let is_read = recall.advance(limit, |keyed, record| {
            let number = record.partition.number;
            let task = tasks.get_mut(&number);
            if task.is_some_and(|task| task.stores.is_repetition(&keyed, record).is_err()) {
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
        let (tasks, mut failed, mut records) = (&mut self.tasks, None, 0);
        let is_read = changelog.advance(limit, |record| {
            records += 1;
            let number = record.partition.number;
            let task = tasks.get_mut(&number);
            if task.is_some_and(|task| task.stores.restore(&record).is_err()) {
                failed = Some(number);
            }
        })?;
        worker.metrics.restored(records);
        self.total = self.total.or(changelog.remaining());
        self.check(failed)?;
        self.write_due()?;
        if !is_read {
            return Ok(());
        }
        self.changelog = None;
        let mut foreign = Vec::new();
        for (number, task) in &mut self.tasks {
            if !task.stores.is_proven() {
                tracing::warn!(
                    step = worker.step.title(),
                    partition = number,
                    "the state file was built from another changelog; rebuilding it"
                );
                task.stores.forget();
                foreign.push(*number);
            }
        }
        self.read_changelog(worker, foreign)?;
        if self.changelog.is_none() {
            self.skip_applied(worker)?;
        }
        Ok(())
    }

    /// Skips events whose effects the state already contains, whatever the group's offsets are.
    fn skip_applied(&mut self, worker: &Worker) -> Result<(), Error> {
        for (partition, next) in &mut self.next {
            let Some(task) = self.tasks.get_mut(&partition.number) else {
                continue;
            };
            let known = task.stores.input(&partition.topic);
            let known = known.or_else(|StoreFailed| task.fail())?.unwrap_or(0);
            if known > *next {
                tracing::warn!(
                    step = worker.step.title(),
                    topic = &*partition.topic,
                    partition = partition.number,
                    committed = *next,
                    known,
                    "the state is ahead of the group's committed offset; continuing after the state"
                );
                *next = known;
            }
        }
        Ok(())
    }

    /// Writes files that are due, so that little stays in memory and nothing has to be read again.
    fn write_due(&mut self) -> Result<(), Error> {
        for task in self.tasks.values_mut() {
            if task.stores.is_due() {
                task.stores.write().or_else(|StoreFailed| task.fail())?;
            }
        }
        Ok(())
    }

    fn check(&mut self, failed: Option<i32>) -> Result<(), Error> {
        let task = failed.and_then(|number| self.tasks.get_mut(&number));
        task.map_or(Ok(()), PartitionTask::fail)
    }

    /// Reports the progress at intervals.
    pub(super) fn report(&mut self, worker: &Worker) {
        if self.reported.elapsed() < REPORT_INTERVAL {
            return;
        }
        self.reported = Instant::now();
        let left = self.changelog.as_ref().and_then(Reader::remaining);
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

    /// The restored partitions, ready to be processed.
    pub(super) fn finish(
        self,
        worker: &Worker,
    ) -> (BTreeMap<Partition, Input>, BTreeMap<i32, PartitionTask>) {
        let (mut inputs, mut tasks) = (BTreeMap::new(), self.tasks);
        for (partition, next) in self.next {
            let port = worker.step.port_of(&partition.topic);
            let source = Source {
                partition: partition.clone(),
                port: port.unwrap_or_default().into(),
            };
            let is_form = worker.form_topics.contains(&*partition.topic);
            if let (true, Some(task)) = (is_form, tasks.get_mut(&partition.number)) {
                task.stores.know_submissions(&partition.topic, next);
            }
            inputs.insert(partition, Input::new(source, next, is_form));
        }
        for task in tasks.values_mut() {
            task.stores.begin(self.begun_ms);
        }
        (inputs, tasks)
    }

    /// What has been restored so far.
    pub(super) fn abort(self) -> BTreeMap<i32, PartitionTask> {
        self.tasks
    }
}

/// One recall for each topic of a form: only there can a submission occur more than once.
fn begin_recalls(
    worker: &Worker,
    next: &BTreeMap<Partition, i64>,
    tasks: &BTreeMap<i32, PartitionTask>,
) -> Result<Vec<DedupReader>, Error> {
    let mut by_topic: BTreeMap<&str, Vec<DedupPosition>> = BTreeMap::new();
    for (partition, next) in next {
        if worker.form_topics.contains(&*partition.topic) {
            let task = tasks.get(&partition.number);
            let until = task.and_then(|task| task.stores.submissions_known(&partition.topic));
            let of_topic = by_topic.entry(&partition.topic).or_default();
            of_topic.push(DedupPosition {
                partition: partition.number,
                next: *next,
                until,
            });
        }
    }
    let mut recalls = Vec::with_capacity(by_topic.len());
    for (topic, consumers) in by_topic {
        recalls.push(DedupReader::open(&worker.client, topic, consumers)?);
    }
    Ok(recalls)
}
