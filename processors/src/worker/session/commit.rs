//! Committing: one transaction for the results of all partitions.

use formline_core::kafka::{record::Partition, transaction::TransactionError};

use super::membership::Session;
use crate::{batch::Finished, error::Error, worker::publish::Round};

// === impl Session ===

impl Session<'_> {
    /// Publishes the results of a round. If Kafka rejects them, the poison event is isolated.
    pub(super) fn publish(&mut self, finished: &[Finished]) -> Result<(), Error> {
        let next: Vec<_> = finished
            .iter()
            .map(|done| (done.source.partition.clone(), done.next_offset()))
            .collect();
        match self.commit(finished, &next) {
            Err(Error::Transaction(rejection @ TransactionError::Rejected(_)))
                if !self.isolation.record_rejection(finished, &rejection) =>
            {
                Err(Error::DeadLetter {
                    topic: self.worker.step.dead_letter_topic(),
                    source: Box::new(rejection),
                })
            }
            published => published,
        }
    }

    /// Commits offsets after records that readers do not see: transaction markers and aborted
    /// records. So a committed offset that equals the end of a topic means that the step is done
    /// with it. This uses a transaction like any other, because a plain commit could arrive after
    /// the next transaction's and reset the group.
    pub(super) fn catch_up(&mut self) -> Result<(), Error> {
        let mut next = self.consumer.positions()?;
        next.retain(|(partition, position)| {
            let input = self.inputs.get(partition);
            input.is_some_and(|input| input.is_empty() && input.committed < *position)
        });
        if next.is_empty() {
            Ok(())
        } else {
            self.commit(&[], &next)
        }
    }

    /// Commits the results and the offsets at which the partitions continue.
    pub(super) fn commit(
        &mut self,
        finished: &[Finished],
        next: &[(Partition, i64)],
    ) -> Result<(), Error> {
        let next = self.with_changed(next);
        let next = next.as_slice();
        let (worker, plugin, tasks) = (self.worker, &self.plugin, &self.tasks);
        let round = Round {
            worker,
            plugin,
            finished,
            tasks,
            next,
        };
        let ends = round.publish(&mut self.transactions, &self.consumer)?;
        self.failures = 0;
        for (number, task) in &mut self.tasks {
            task.stores.commit(ends.get(number).copied());
        }
        for (partition, next) in next {
            worker.committed.set(partition, *next);
            self.isolation.committed(partition, *next);
            let Some(input) = self.inputs.get_mut(partition) else {
                continue;
            };
            input.committed = *next;
            if let (true, Some(task)) = (input.is_form, self.tasks.get_mut(&partition.number)) {
                task.stores.know_submissions(&partition.topic, *next);
            }
        }
        Ok(())
    }

    /// Adds the current offsets of partitions whose stores have changed without an event: Kafka
    /// rejects these offsets, and with them the changes, if the worker has lost the partition. The
    /// changed stores also record up to which offset they contain their inputs.
    fn with_changed(&mut self, next: &[(Partition, i64)]) -> Vec<(Partition, i64)> {
        let mut next = next.to_vec();
        for (number, task) in &mut self.tasks {
            if !task.stores.has_changes() {
                continue;
            }
            for (partition, input) in &self.inputs {
                if partition.number == *number && !next.iter().any(|(known, _)| known == partition)
                {
                    next.push((partition.clone(), input.committed));
                }
            }
            task.stores.end_events();
            for (partition, offset) in &next {
                if partition.number == *number {
                    task.stores.set_input(&partition.topic, *offset);
                }
            }
        }
        next
    }
}
