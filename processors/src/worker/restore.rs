//! Brings from Kafka what a worker must know of new partitions before their first event: state and earlier submissions.
//!
//! It reads in slices, so that the worker polls its consumer in between and stays a member however long this takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use formline_core::{
    Consumer,
    duplicates::{Duplicates, Recall},
    reader::{From, Reader},
    record::Partition,
};

use super::{Worker, input::Input, lane::Lane};
use crate::{batch::Source, error::Error, plugin::Plugin};

/// What has come so far.
#[derive(Debug)]
pub(super) struct Restore {
    /// Each new partition with its committed offset.
    next: BTreeMap<Partition, i64>,
    lanes: BTreeMap<i32, Lane>,
    /// Until it is read to its end.
    changelog: Option<Reader>,
    /// Topics of forms that are still to be read.
    recalls: Vec<(Arc<str>, Recall)>,
    duplicates: BTreeMap<Partition, Duplicates>,
}

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
        let offset = |partition: Partition| {
            let next = committed.get(&partition).copied().unwrap_or(0);
            (partition, next)
        };
        let next: BTreeMap<_, _> = partitions.into_iter().map(offset).collect();
        let numbers: BTreeSet<i32> = next.keys().map(|partition| partition.number).collect();
        let numbers: Vec<i32> = numbers.into_iter().collect();
        let changelog = if numbers.is_empty() || plugin.facts.stores.is_empty() {
            None
        } else {
            let topic = worker.step.state_topic();
            Some(Reader::open(
                &worker.client,
                &topic,
                &numbers,
                From::Beginning,
            )?)
        };
        let lanes = numbers.iter().map(|number| (*number, Lane::new(*number)));
        Ok(Self {
            lanes: lanes.collect(),
            changelog,
            recalls: recalls(worker, &next)?,
            next,
            duplicates: BTreeMap::new(),
        })
    }

    /// Reads for about as long as `limit`; true when everything is there.
    pub(super) fn advance(&mut self, limit: Duration) -> Result<bool, Error> {
        if let Some(changelog) = &mut self.changelog {
            let lanes = &mut self.lanes;
            let is_read = changelog.advance(limit, |record| {
                let lane = lanes.get_mut(&record.partition.number);
                if let (Some(lane), Some(key)) = (lane, record.key()) {
                    lane.stores.restore(key, record.value());
                }
            })?;
            if !is_read {
                return Ok(false);
            }
            self.changelog = None;
        }
        if let Some((_, recall)) = self.recalls.last_mut()
            && !recall.advance(limit)?
        {
            return Ok(false);
        }
        if let Some((topic, recall)) = self.recalls.pop() {
            let known = recall.finish().into_iter().map(|(number, known)| {
                let topic = Arc::clone(&topic);
                (Partition { topic, number }, known)
            });
            self.duplicates.extend(known);
        }
        Ok(self.recalls.is_empty())
    }

    /// The partitions, ready to be worked on.
    pub(super) fn finish(
        mut self,
        worker: &Worker,
    ) -> (BTreeMap<Partition, Input>, BTreeMap<i32, Lane>) {
        let mut inputs = BTreeMap::new();
        for (partition, next) in self.next {
            let port = worker.step.port_of(&partition.topic);
            let source = Source {
                partition: partition.clone(),
                port: port.unwrap_or_default().into(),
            };
            let duplicates = self.duplicates.remove(&partition);
            inputs.insert(partition, Input::new(source, next, duplicates));
        }
        (inputs, self.lanes)
    }
}

/// One for each topic of a form: only there can a submission stand twice.
fn recalls(
    worker: &Worker,
    next: &BTreeMap<Partition, i64>,
) -> Result<Vec<(Arc<str>, Recall)>, Error> {
    let mut by_topic: BTreeMap<&Arc<str>, BTreeMap<i32, i64>> = BTreeMap::new();
    for (partition, next) in next {
        if worker.form_topics.contains(&*partition.topic) {
            let of_topic = by_topic.entry(&partition.topic).or_default();
            of_topic.insert(partition.number, *next);
        }
    }
    let mut recalls = Vec::with_capacity(by_topic.len());
    for (topic, next) in by_topic {
        recalls.push((
            Arc::clone(topic),
            Recall::begin(&worker.client, topic, next)?,
        ));
    }
    Ok(recalls)
}
