//! The partitions of a session, and reading them.

use std::{
    mem,
    time::{Duration, Instant},
};

use formline_core::{
    Record,
    kafka::{consumer::Polled, record::Partition},
};

use super::membership::{ReportedState, Session, WAIT};
use crate::{
    error::Error,
    worker::{input::Input, restore::Restore},
};

/// Bounds of the events that are read ahead. Beyond them records stay in the consumer.
const RECORDS: usize = 2000;
const BYTES: usize = 4 << 20;

/// How long a restore reads before the consumer is polled again.
const SLICE: Duration = Duration::from_millis(100);

// === impl Session ===

impl Session<'_> {
    /// Takes the records that the consumer holds. True if there were none.
    pub(super) fn gather(&mut self) -> Result<bool, Error> {
        let mut polled = self.consumer.poll(self.patience())?;
        let mut is_quiet = true;
        loop {
            match polled {
                Polled::Idle => return Ok(is_quiet),
                Polled::Record(record) => self.push(record),
                Polled::Assigned(partitions) => self.assign(partitions)?,
                Polled::Revoked(_) => self.revoke(),
            }
            is_quiet = false;
            if self.is_full() {
                return Ok(false);
            }
            polled = self.consumer.poll(Duration::ZERO)?;
        }
    }

    /// How long to wait for a record: not at all if there is work, else until something is due.
    fn patience(&self) -> Duration {
        let has_work = self.paused.is_none() && self.inputs.values().any(Input::is_ready);
        if has_work || self.restore.is_some() {
            return Duration::ZERO;
        }
        let due = self
            .inputs
            .values()
            .filter_map(Input::resume_at)
            .chain(self.paused.as_ref().map(|(until, _)| *until))
            .min();
        due.map_or(WAIT, |due| {
            due.saturating_duration_since(Instant::now()).min(WAIT)
        })
    }

    fn is_full(&self) -> bool {
        let sizes = self
            .inputs
            .values()
            .filter(|input| input.is_ready())
            .map(Input::size);
        let (records, bytes) =
            sizes.fold((0, 0), |(r, b), (records, bytes)| (r + records, b + bytes));
        records >= RECORDS || bytes >= BYTES
    }

    fn push(&mut self, record: Record) {
        // A record of a partition that was revoked in the meantime belongs to another worker.
        if let Some(input) = self.inputs.get_mut(&record.partition) {
            input.push(record);
        }
    }

    /// Pauses new partitions until their state is restored.
    pub(super) fn assign(&mut self, partitions: Vec<Partition>) -> Result<(), Error> {
        self.consumer.pause(&partitions, true)?;
        let (worker, consumer) = (self.worker, &mut self.consumer);
        self.restore = Some(Restore::begin(worker, &self.plugin, consumer, partitions)?);
        Ok(())
    }

    /// Reads a slice of the state. At its end the partitions can be processed.
    pub(super) fn restore(&mut self) -> Result<(), Error> {
        let Some(restore) = &mut self.restore else {
            return Ok(());
        };
        if !restore.advance(self.worker, SLICE)? {
            restore.report(self.worker);
            return Ok(());
        }
        let restored = self.restore.take().map(|it| it.finish(self.worker));
        (self.inputs, self.tasks) = restored.unwrap_or_default();
        for (partition, input) in &self.inputs {
            self.worker.committed.set(partition, input.committed);
            // The consumer may have read further before: until it was paused, or before a
            // transaction failed.
            self.consumer.seek(partition, input.committed)?;
        }
        let partitions: Vec<_> = self.inputs.keys().cloned().collect();
        self.consumer.pause(&partitions, false)?;
        self.reported = ReportedState::Restoring;
        tracing::info!(
            step = self.worker.step.title(),
            worker = self.worker.name,
            partitions = partitions.len(),
            "partitions assigned"
        );
        Ok(())
    }

    /// Releases all partitions with their unpublished events, because the range assignor revokes
    /// all partitions before it assigns any. No transaction is open: each one ends before the next
    /// `poll`.
    pub(in crate::worker) fn revoke(&mut self) {
        for partition in self.inputs.keys() {
            self.worker.committed.remove(partition);
        }
        let restored = self.restore.take().map(Restore::abort);
        let tasks = restored.unwrap_or_default().into_values();
        for task in tasks.chain(mem::take(&mut self.tasks).into_values()) {
            task.stores.close();
        }
        self.inputs.clear();
    }
}
