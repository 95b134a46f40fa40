//! Publishes the results of a round of batches in one transaction: outputs, changelog, dead letters
//! and offsets.

use std::{collections::BTreeMap, time::Instant};

use formline_core::{
    Consumer,
    dead_letter::headers::DeadLetterRecord,
    event::{self, header},
    kafka::{
        record::{Headers, OutgoingRecord, Partition},
        transaction::{EndOffsets, Transaction, TransactionalProducer},
    },
};
use jiff::Timestamp;

use super::{context::Worker, partition_task::PartitionTask};
use crate::{
    batch::{EventOutcome, Finished, Output},
    error::Error,
    hot_swap::Score,
    plugin::Plugin,
    state::{ChangelogEntry, Stores},
};

/// The content of one transaction.
#[derive(Debug)]
pub(super) struct Round<'a> {
    pub(super) worker: &'a Worker,
    pub(super) plugin: &'a Plugin,
    pub(super) finished: &'a [Finished],
    pub(super) tasks: &'a BTreeMap<i32, PartitionTask>,
    /// The offset at which each partition continues.
    pub(super) next: &'a [(Partition, i64)],
}

// === impl Round ===

impl Round<'_> {
    /// Publishes everything or nothing, and returns where the changelog ends. After an error the
    /// outcome is unknown until the committed offsets have been read, so the worker restarts from
    /// them.
    pub(super) fn publish(
        &self,
        transactions: &mut TransactionalProducer,
        consumer: &Consumer,
    ) -> Result<EndOffsets, Error> {
        let begun = Instant::now();
        let mut transaction = transactions.begin()?;
        // If it is dropped before the commit, it is aborted as soon as new producers with its id
        // are opened.
        self.fill(&mut transaction)?;
        let ends = transaction.commit(self.next, consumer)?;
        self.worker
            .metrics
            .commit
            .observe(begun.elapsed().as_secs_f64());
        self.count();
        Ok(ends)
    }

    fn fill(&self, transaction: &mut Transaction<'_>) -> Result<(), Error> {
        for finished in self.finished {
            for output in &finished.outputs {
                self.send(transaction, finished, output)?;
            }
            self.dead_letter(transaction, finished)?;
        }
        for (number, task) in self.tasks {
            self.log(transaction, *number, &task.stores)?;
        }
        Ok(())
    }

    /// Adds the changes of a partition's stores to the changelog.
    fn log(
        &self,
        transaction: &mut Transaction<'_>,
        number: i32,
        stores: &Stores,
    ) -> Result<(), Error> {
        let topic = self.worker.step.state_topic();
        let generation = stores.generation().map(|id| id.to_string());
        for ChangelogEntry { key, entry, causes } in stores.changes() {
            let mut headers = Headers::with_capacity(2 + causes.len());
            if let Some(generation) = &generation {
                headers = headers.with(header::GENERATION, generation);
            }
            if let Some(end) = entry.and_then(|entry| entry.expires_ms) {
                headers = headers.with(header::EXPIRES, end.to_string());
            }
            for cause in causes {
                headers = headers.with(header::PROVENANCE, cause.to_string());
            }
            transaction.send(OutgoingRecord {
                topic: &topic,
                partition: Some(number),
                key: Some(key),
                value: entry.map(|entry| entry.value.as_slice()),
                headers,
                timestamp_ms: None,
            })?;
        }
        Ok(())
    }

    fn send(
        &self,
        transaction: &mut Transaction<'_>,
        finished: &Finished,
        output: &Output,
    ) -> Result<(), Error> {
        let (step, input) = (&self.worker.step, &finished.events[output.event].0.record);
        let port = &self.plugin.declared.outputs[output.port];
        let headers = event::output_headers(input, &step.name, port, output.n, &self.plugin.label);
        let own = output.headers.iter();
        let headers = own.fold(headers, |headers, (name, value)| headers.with(name, value));
        transaction.send(OutgoingRecord {
            topic: step
                .output
                .get(port)
                .expect("a plug-in runs only if the step binds all its ports"),
            partition: None,
            key: output.key.as_deref().or(input.key()),
            // As the contract says, an empty value deletes the key from a compacted topic.
            value: (!output.value.is_empty()).then_some(&output.value),
            headers,
            timestamp_ms: output.timestamp_ms.or(Some(input.timestamp_ms)),
        })?;
        Ok(())
    }

    fn dead_letter(
        &self,
        transaction: &mut Transaction<'_>,
        finished: &Finished,
    ) -> Result<(), Error> {
        let topic = self.worker.step.dead_letter_topic();
        for (event, outcome) in &finished.events {
            let EventOutcome::DeadLettered(reason) = outcome else {
                continue;
            };
            let dead_letter = DeadLetterRecord {
                record: &event.record,
                step: &self.worker.step.name,
                reason: &reason.code,
                detail: &reason.detail,
                attempts: reason.attempts,
                plugin: Some(&self.plugin.label),
            };
            transaction.send(dead_letter.outgoing(&topic))?;
        }
        Ok(())
    }

    /// Counts the committed events.
    fn count(&self) {
        let (metrics, now) = (&self.worker.metrics, Timestamp::now());
        for finished in self.finished {
            for (event, outcome) in &finished.events {
                self.worker.score.add(Score::of(outcome));
                match outcome {
                    EventOutcome::Accepted => metrics.events("accepted", 1),
                    EventOutcome::Skipped => metrics.events("skipped", 1),
                    EventOutcome::Duplicate => metrics.events("duplicate", 1),
                    EventOutcome::DeadLettered(reason) => {
                        metrics.events("dead-letter", 1);
                        metrics.dead_letter(reason.kind);
                    }
                }
                metrics.passed(event, now);
            }
            for (counter, delta) in self.plugin.declared.counters.iter().zip(&finished.counters) {
                metrics.count(counter, *delta);
            }
        }
    }
}
