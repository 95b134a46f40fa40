//! The stores between two processes: what the changelog gives back, and when the file is written.

use std::time::Duration;

use formline_core::{Record, event::header};

use super::{Broken, Mark, Stores};
use crate::{
    error::Error,
    state::{disk::Disk, entry::Entry},
};

/// The file is written when so much has changed, or this long after the first change. It is what a restart after a kill
/// has to read again.
const CHANGED_BYTES: usize = 4 << 20;
const CHANGED_FOR: Duration = Duration::from_secs(60);

/// An older file is not used: Kafka forgets deletions after a day (`delete.retention.ms`), and the file would keep what was
/// deleted meanwhile. Who has the partition renews a file of half that age; a worker that was frozen may do so once before
/// it finds out that it has lost the partition, which is what the other half is for.
pub(super) const AGE: Duration = Duration::from_secs(12 * 60 * 60);

/// A batch ends early when so much has changed, so that it fits into memory and into a transaction.
const HEAVY: usize = 32 << 20;

// === impl Stores ===

impl Stores {
    /// The offset from which the changelog has to be read; none for its beginning. It is that of the last record that the
    /// entries contain, to see whether it is still the same changelog.
    pub(crate) fn resume_at(&self) -> Option<i64> {
        self.is_unproven.then_some(self.origin.next - 1)
    }

    /// Takes over a record of the changelog. It may come again, and the limit does not count: what was accepted stays.
    pub(crate) fn restore(&mut self, record: &Record) -> Result<(), Broken> {
        let generation = record.text_header(header::GENERATION);
        let generation = generation.and_then(|id| id.parse().ok());
        // A changelog that has lost its end is read from the beginning, and its early records prove nothing.
        let is_proof =
            self.origin.generation == generation && record.offset + 1 >= self.origin.next;
        if self.is_unproven && !is_proof {
            return Ok(());
        }
        self.is_unproven = false;
        self.origin.generation = generation;
        self.origin.next = record.offset + 1;
        let Some(key) = record.key() else {
            return Ok(());
        };
        let before = self.look(key)?.map_or(0, |before| before.size(key));
        let entry = record.value().map(|value| Entry {
            value: value.to_vec(),
            expires_ms: expires_ms(record),
        });
        let added = entry.as_ref().map_or(0, |entry| entry.size(key));
        self.origin.bytes = self.origin.bytes.saturating_sub(before) + added;
        self.set(key.to_vec(), entry);
        Ok(())
    }

    /// Whether the changelog, read to its end, was the one that the entries of the file were made of.
    pub(crate) fn is_proven(&self) -> bool {
        !self.is_unproven
    }

    /// Everything is known that the changelog held at this time, in milliseconds since 1970. If that was nothing, it is a
    /// new one.
    pub(crate) fn begin(&mut self, known_ms: i64) {
        self.origin.generation.get_or_insert_default();
        self.origin.known_ms = known_ms;
        self.is_complete = true;
    }

    /// Who has everything, and still has the partition, knows that nothing else has come.
    pub(super) fn renew(&mut self) {
        if self.is_complete {
            self.origin.renew();
        }
    }

    /// Forgets everything, to begin with an empty file.
    pub(crate) fn forget(&mut self) {
        if let Some(disk) = self.disk.take() {
            disk.delete();
        }
        *self = Self {
            path: self.path.take(),
            limit: self.limit,
            ..Self::default()
        };
        self.origin.renew();
    }

    /// Whether it is time to write the file. Not within a transaction.
    pub(crate) fn is_due(&self) -> bool {
        let changed_for = self.changed_since.map(|since| since.elapsed());
        self.path.is_some()
            && (self.changed_bytes >= CHANGED_BYTES
                || changed_for.is_some_and(|time| time >= CHANGED_FOR)
                || self.is_ageing(AGE / 2))
    }

    /// Whether so much has changed that it should be published first.
    pub(crate) fn is_heavy(&self) -> bool {
        self.path.is_some() && self.changed_bytes >= HEAVY
    }

    /// Whether nothing has been heard of the partition for so long that the file should be renewed, and can be.
    fn is_ageing(&self, from: Duration) -> bool {
        self.is_complete && self.disk.is_some() && (from..AGE).contains(&self.origin.age())
    }

    /// Writes the file. Everything has to be committed.
    pub(crate) fn write(&mut self) -> Result<(), Broken> {
        let (Some(path), true) = (&self.path, self.undo.is_empty()) else {
            return Ok(());
        };
        if self.is_ageing(Duration::ZERO) {
            self.origin.renew();
        }
        let disk = match self.disk.take() {
            Some(disk) => Ok(disk),
            None => Disk::create(path),
        };
        let written = disk.and_then(|mut disk| {
            disk.write(&self.changed, &self.origin)?;
            Ok(disk)
        });
        self.disk = Some(self.note(written)?);
        self.changed.clear();
        (self.changed_bytes, self.changed_since) = (0, None);
        Ok(())
    }

    /// Takes back what is not committed, and writes the file. A problem costs the next start some time and is logged.
    pub(crate) fn close(mut self) {
        self.roll_back(Mark::START);
        let is_stale = self.changed_since.is_some() || self.is_ageing(AGE / 10);
        if self.failure.is_none() && is_stale && self.write().is_err() {
            let error = self.failure.map(|error| error.to_string());
            tracing::warn!(error, "the state file is not written");
        }
    }

    /// Whether the file cannot be used any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Why the file cannot be used any more, once.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    pub(super) fn note<T>(&mut self, result: Result<T, redb::Error>) -> Result<T, Broken> {
        result.map_err(|error| {
            if let Some(disk) = self.disk.take() {
                disk.delete();
            }
            self.failure = self.path.as_ref().map(|path| Error::state(path, error));
            Broken
        })
    }
}

fn expires_ms(record: &Record) -> Option<i64> {
    record.text_header(header::EXPIRES)?.parse().ok()
}
