//! The stores across restarts: what is restored from the changelog, and when the file is written.

use std::time::Duration;

use formline_core::{Record, event::header};

use super::{
    partition_stores::{MAX_AGE, StoreFailed, Stores},
    undo::Savepoint,
};
use crate::{
    error::Error,
    state::{entry::Entry, file::StateFile},
};

/// The file is written after this many changed bytes, or this long after the first change. A
/// restart after a crash has to read as much from the changelog again.
const CHANGED_BYTES: usize = 4 << 20;
const CHANGED_FOR: Duration = Duration::from_secs(60);

/// A batch ends early after this many changed bytes, so that the changes fit into memory and into a
/// transaction.
const HEAVY: usize = 32 << 20;

// === impl Stores ===

impl Stores {
    /// The offset from which the changelog must be read; none for its beginning. It is the offset
    /// of the last record that the entries contain, so that the record can prove that it is still
    /// the same changelog.
    pub(crate) fn resume_at(&self) -> Option<i64> {
        self.is_unproven.then_some(self.coverage.next - 1)
    }

    /// Applies a record of the changelog. The record may be applied repeatedly. The limit does not
    /// apply, because the entry was already accepted.
    pub(crate) fn restore(&mut self, record: &Record) -> Result<(), StoreFailed> {
        let generation = record.text_header(header::GENERATION);
        let generation = generation.and_then(|id| id.parse().ok());
        // A changelog that has lost its end is read from the beginning, so its earlier records
        // prove nothing.
        let is_proof =
            self.coverage.generation == generation && record.offset + 1 >= self.coverage.next;
        if self.is_unproven && !is_proof {
            return Ok(());
        }
        self.is_unproven = false;
        self.coverage.generation = generation;
        self.coverage.next = record.offset + 1;
        let Some(key) = record.key() else {
            return Ok(());
        };
        let before = self.look(key)?.map_or(0, |before| before.size(key));
        let entry = record.value().map(|value| Entry {
            value: value.to_vec(),
            expires_ms: expires_ms(record),
        });
        let added = entry.as_ref().map_or(0, |entry| entry.size(key));
        self.coverage.bytes = self.coverage.bytes.saturating_sub(before) + added;
        self.set(key.to_vec(), entry);
        Ok(())
    }

    /// Whether the changelog, read to its end, is the one from which the file was built.
    pub(crate) fn is_proven(&self) -> bool {
        !self.is_unproven
    }

    /// Records that the entries cover everything that the changelog contained at `known_ms`, in
    /// milliseconds since 1970. An empty changelog gets a new id.
    pub(crate) fn begin(&mut self, known_ms: i64) {
        self.coverage.generation.get_or_insert_default();
        self.coverage.known_ms = known_ms;
        self.is_complete = true;
    }

    /// Renews the coverage: as long as this process owns the partition, no one else can write to
    /// its changelog.
    pub(super) fn renew(&mut self) {
        if self.is_complete {
            self.coverage.renew();
        }
    }

    /// Deletes all entries and the file.
    pub(crate) fn forget(&mut self) {
        if let Some(file) = self.file.take() {
            file.delete();
        }
        *self = Self {
            path: self.path.take(),
            limit: self.limit,
            ..Self::default()
        };
        self.coverage.renew();
    }

    /// Whether the file should be written. Not within a transaction.
    pub(crate) fn is_due(&self) -> bool {
        let changed_for = self.changed_since.map(|since| since.elapsed());
        self.path.is_some()
            && (self.changed_bytes >= CHANGED_BYTES
                || changed_for.is_some_and(|time| time >= CHANGED_FOR)
                || self.is_aging(MAX_AGE / 2))
    }

    /// Whether so much has changed that the changes should be published before the next event.
    pub(crate) fn is_heavy(&self) -> bool {
        self.path.is_some() && self.changed_bytes >= HEAVY
    }

    /// Whether the file has at least the age `from` and can still be renewed.
    fn is_aging(&self, from: Duration) -> bool {
        self.is_complete && self.file.is_some() && (from..MAX_AGE).contains(&self.coverage.age())
    }

    /// Writes the file. Does nothing while there are uncommitted changes.
    pub(crate) fn write(&mut self) -> Result<(), StoreFailed> {
        let (Some(path), true) = (&self.path, self.undo.is_empty()) else {
            return Ok(());
        };
        if self.is_aging(Duration::ZERO) {
            self.coverage.renew();
        }
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => StateFile::create(path),
        };
        let written = file.and_then(|mut file| {
            file.write(&self.changed, &self.coverage)?;
            Ok(file)
        });
        self.file = Some(self.note(written)?);
        self.changed.clear();
        (self.changed_bytes, self.changed_since) = (0, None);
        Ok(())
    }

    /// Rolls back uncommitted changes and writes the file. An error is only logged, because it
    /// merely makes the next start slower.
    pub(crate) fn close(mut self) {
        self.roll_back(Savepoint::START);
        let is_stale = self.changed_since.is_some() || self.is_aging(MAX_AGE / 10);
        if self.failure.is_none() && is_stale && self.write().is_err() {
            let error = self.failure.map(|error| error.to_string());
            tracing::warn!(error, "cannot write the state file");
        }
    }

    /// Whether the file can no longer be used.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Returns why the file can no longer be used, once.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Keeps an error of the file for [`take_failure`](Self::take_failure), and deletes the file.
    pub(super) fn note<T>(&mut self, result: Result<T, redb::Error>) -> Result<T, StoreFailed> {
        result.map_err(|error| {
            if let Some(file) = self.file.take() {
                file.delete();
            }
            self.failure = self.path.as_ref().map(|path| Error::state(path, error));
            StoreFailed
        })
    }
}

fn expires_ms(record: &Record) -> Option<i64> {
    record.text_header(header::EXPIRES)?.parse().ok()
}
