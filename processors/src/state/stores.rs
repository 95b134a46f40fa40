//! The entries of one partition, with what has changed since the file was written in memory.
//!
//! Changes can be undone one event, one batch or one transaction at a time, until `commit` says that Kafka has them. Only
//! what Kafka has goes into the file.

use std::{
    collections::BTreeMap,
    fmt, mem,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{
    EventId, Record,
    cause::Cause,
    duplicates::{self, Keyed},
    event::header,
};

use super::{
    disk::Disk,
    entry::{self, Entry},
    origin::Origin,
    scan::Scan,
    schema::Schema,
};
use crate::error::Error;

/// The entries of one partition.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    /// Where the file is, or will be; without it everything stays in memory.
    path: Option<PathBuf>,
    disk: Option<Disk>,
    changed: BTreeMap<Vec<u8>, Option<Entry>>,
    /// Roughly the bytes of `changed`.
    changed_bytes: usize,
    changed_since: Option<Instant>,
    undo: Vec<Change>,
    origin: Origin,
    limit: u64,
    /// Time of the event at hand, and the newest one so far.
    now_ms: i64,
    newest_ms: i64,
    /// Where the event at hand stands: topic and offset.
    event: Option<(Arc<str>, i64)>,
    /// The entries come from the file, and the changelog has not shown yet that it is the one they were made of.
    is_unproven: bool,
    /// Why the file cannot be used any more.
    failure: Option<Error>,
}

/// How a key was before a change.
#[derive(Debug)]
struct Change {
    key: Vec<u8>,
    /// None if the file says what it was.
    before: Option<Option<Entry>>,
    bytes_before: u64,
    /// The event that has made it; none if it was the host.
    cause: Option<(Arc<str>, i64)>,
}

/// A change as the changelog tells it.
#[derive(Debug)]
pub(crate) struct Logged<'a> {
    pub(crate) key: &'a [u8],
    /// None for a deletion.
    pub(crate) entry: Option<&'a Entry>,
    /// The events that have made it, by topic.
    pub(crate) causes: Vec<Cause>,
}

/// A point to return to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark(usize);

/// The file has failed; `failure` says how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Broken;

/// Why an entry is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// The stores hold as much as they may.
    Full,
    Broken,
}

/// The file is written when so much has changed, or this long after the first change. It is what a restart after a kill
/// has to read again.
const CHANGED_BYTES: usize = 4 << 20;
const CHANGED_FOR: Duration = Duration::from_secs(60);

/// What a change costs in memory besides its bytes.
const CHANGE: usize = 96;

/// An older file is not used: Kafka forgets deletions after a day (`delete.retention.ms`), and the file would keep what was
/// deleted meanwhile. Who has the partition renews a file of half that age; a worker that was frozen may do so once before
/// it finds out that it has lost the partition, which is what the other half is for.
const AGE: Duration = Duration::from_secs(12 * 60 * 60);

/// A batch ends early when so much has changed, so that it fits into memory and into a transaction.
const HEAVY: usize = 32 << 20;

/// So many ended entries are deleted with a batch.
const SWEEP: usize = 1000;

/// Prefix of the host's own entry that holds the schema of a store.
const SCHEMA: &str = "schema/";

// === impl Mark ===

impl Mark {
    /// Where the transaction began.
    pub(crate) const START: Self = Self(0);
}

// === impl Stores ===

impl Stores {
    /// Empty stores without a file and without a limit worth mentioning, for trials.
    pub(crate) fn in_memory() -> Self {
        Self {
            limit: u64::MAX,
            ..Self::default()
        }
    }

    /// The stores of a partition as its file has them, empty if it has none. `limit` is in bytes.
    pub(crate) fn open(path: PathBuf, limit: u64) -> Result<Self, Error> {
        let mut stores = Self {
            limit,
            ..Self::default()
        };
        let opened = Disk::open(&path).map_err(|source| Error::state(&path, source))?;
        if let Some((disk, origin)) = opened {
            if origin.age() < AGE {
                stores.is_unproven = origin.generation.is_some() && origin.next > 0;
                (stores.disk, stores.origin) = (Some(disk), origin);
            } else {
                disk.delete();
            }
        }
        stores.path = Some(path);
        Ok(stores)
    }

    // === For plug-ins ===

    /// What the event at hand sees of an entry.
    pub(crate) fn get(&mut self, store: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        let now = self.now_ms;
        let found = self.look(&entry::key(store, key))?;
        let alive = found.filter(|entry| entry.is_alive(now));
        Ok(alive.map(|entry| entry.value))
    }

    pub(crate) fn put(&mut self, store: &str, key: &[u8], entry: Entry) -> Result<(), Refusal> {
        let key = entry::key(store, key);
        let before = self.look(&key).map_err(|Broken| Refusal::Broken)?;
        let freed = before.map_or(0, |before| before.size(&key));
        let bytes = self.origin.bytes.saturating_sub(freed) + entry.size(&key);
        if bytes > self.limit {
            return Err(Refusal::Full);
        }
        self.change(key, Some(entry), bytes);
        Ok(())
    }

    pub(crate) fn delete(&mut self, store: &str, key: &[u8]) -> Result<(), Broken> {
        self.remove(entry::key(store, key))
    }

    fn remove(&mut self, key: Vec<u8>) -> Result<(), Broken> {
        if let Some(before) = self.look(&key)? {
            let bytes = self.origin.bytes.saturating_sub(before.size(&key));
            self.change(key, None, bytes);
        }
        Ok(())
    }

    /// Entries of a store whose key begins with `prefix`, in order, behind `after`, without the store's part of the key;
    /// as long as `take` says yes to the size of the next one.
    pub(crate) fn scan(
        &mut self,
        store: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut take: impl FnMut(usize) -> bool,
    ) -> Result<Vec<(Vec<u8>, Entry)>, Broken> {
        let (skipped, now) = (entry::key(store, b"").len(), self.now_ms);
        let prefix = entry::key(store, prefix);
        // The smallest key behind another one has a zero more.
        let after = after.map(|after| [&entry::key(store, after), [0].as_slice()].concat());
        let from = after.filter(|after| *after > prefix);
        let from = from.unwrap_or_else(|| prefix.clone());
        let mut entries = Vec::new();
        let read = || {
            let disk = self.disk.as_ref();
            let written = disk.map(|disk| disk.range(&from)).transpose()?;
            for found in Scan::new(written, self.changed.range(from..)) {
                let (key, entry) = found?;
                if !key.starts_with(&prefix) {
                    break;
                }
                if !entry.is_alive(now) {
                    continue;
                }
                if !take(key.len() - skipped + entry.value.len()) {
                    break;
                }
                entries.push((key[skipped..].to_vec(), entry));
            }
            Ok(())
        };
        let read = read();
        self.note(read)?;
        Ok(entries)
    }

    /// The event comes next.
    pub(crate) fn begin_event(&mut self, record: &Record) {
        self.set_time(record.timestamp_ms);
        self.event = Some((Arc::clone(&record.partition.topic), record.offset));
    }

    // === For the host ===

    /// No event comes next: what changes is the host's doing.
    pub(crate) fn end_events(&mut self) {
        self.event = None;
    }

    /// What is alive is decided by this time, in milliseconds since 1970.
    pub(crate) fn set_time(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.newest_ms = self.newest_ms.max(now_ms);
    }

    /// The schema of a store's entries; none if nobody has said it yet.
    pub(crate) fn schema(&mut self, store: &str) -> Result<Option<Schema>, Broken> {
        let key = entry::key("", format!("{SCHEMA}{store}").as_bytes());
        let found = self.look(&key)?;
        Ok(found.and_then(|entry| Schema::from_bytes(&entry.value)))
    }

    pub(crate) fn set_schema(&mut self, store: &str, schema: &Schema) {
        let key = entry::key("", format!("{SCHEMA}{store}").as_bytes());
        let bytes = self.origin.bytes;
        self.change(key, Some(Entry::new(schema.to_bytes())), bytes);
    }

    /// Deletes entries that no event can see any more, a part of them with each call.
    pub(crate) fn sweep(&mut self) -> Result<(), Broken> {
        let newest = self.newest_ms;
        let Some(disk) = &mut self.disk else {
            return Ok(());
        };
        let ended = disk.ended(newest, SWEEP);
        for key in self.note(ended)? {
            let found = self.look(&key)?;
            if found.is_none_or(|entry| entry.is_alive(newest)) {
                continue;
            }
            if entry::is_local(&key) {
                self.set(key, None);
            } else {
                self.remove(key)?;
            }
        }
        Ok(())
    }

    /// Whether the same submission stands at a lower offset of its topic. The first record of a submission is no
    /// repetition, however often it is read; so nothing of this needs to be undone.
    pub(crate) fn is_repetition(&mut self, keyed: &Keyed, record: &Record) -> Result<bool, Broken> {
        let key = entry::submission(&record.partition.topic, keyed.id);
        let time = keyed.timestamp_ms;
        if let Some(Entry { value, expires_ms }) = self.look(&key)?
            && let Ok(first) = value.try_into().map(i64::from_be_bytes)
            && first <= record.offset
            && expires_ms.is_some_and(|end| time <= end)
        {
            return Ok(first < record.offset);
        }
        let entry = Entry {
            value: record.offset.to_be_bytes().to_vec(),
            expires_ms: Some(time + duplicates::window_ms()),
        };
        self.set(key, Some(entry));
        Ok(false)
    }

    /// The offset of the topic before which all keyed submissions are known.
    pub(crate) fn submissions_known(&self, topic: &str) -> Option<i64> {
        self.origin.submissions.get(topic).copied()
    }

    /// All keyed submissions of the topic before `next` are known.
    pub(crate) fn know_submissions(&mut self, topic: &str, next: i64) {
        self.changed_since.get_or_insert_with(Instant::now);
        self.origin.renew();
        match self.origin.submissions.get_mut(topic) {
            Some(known) => *known = next,
            None => drop(self.origin.submissions.insert(topic.to_owned(), next)),
        }
    }

    // === Changes ===

    /// The present point.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.undo.len())
    }

    /// Undoes everything since the mark.
    pub(crate) fn roll_back(&mut self, to: Mark) {
        while self.undo.len() > to.0 {
            let change = self.undo.pop().expect("it is longer than the mark");
            self.origin.bytes = change.bytes_before;
            match change.before {
                Some(entry) => drop(self.set(change.key, entry)),
                None => drop(self.changed.remove(&change.key)),
            }
        }
    }

    /// What has changed since the last commit, each key once.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Logged<'_>> {
        let mut causes: BTreeMap<&[u8], BTreeMap<&str, Vec<i64>>> = BTreeMap::new();
        for change in &self.undo {
            let of_key = causes.entry(&change.key).or_default();
            if let Some((topic, offset)) = &change.cause {
                of_key.entry(topic).or_default().push(*offset);
            }
        }
        causes.into_iter().map(|(key, causes)| {
            let causes = causes.into_iter();
            Logged {
                key,
                entry: self.changed.get(key).and_then(Option::as_ref),
                causes: causes
                    .map(|(topic, offsets)| Cause::of(topic, offsets))
                    .collect(),
            }
        })
    }

    /// The changelog's id, for the headers of its records.
    pub(crate) fn generation(&self) -> Option<EventId> {
        self.origin.generation
    }

    /// The changes are in Kafka, the last of them before this offset of the changelog, if there was one.
    pub(crate) fn commit(&mut self, changelog_end: Option<i64>) {
        self.undo.clear();
        self.origin.renew();
        self.origin.next = changelog_end.unwrap_or(self.origin.next);
    }

    fn change(&mut self, key: Vec<u8>, entry: Option<Entry>, bytes: u64) {
        let bytes_before = mem::replace(&mut self.origin.bytes, bytes);
        let before = self.set(key.clone(), entry);
        self.undo.push(Change {
            key,
            before,
            bytes_before,
            cause: self.event.clone(),
        });
    }

    fn set(&mut self, key: Vec<u8>, entry: Option<Entry>) -> Option<Option<Entry>> {
        self.changed_since.get_or_insert_with(Instant::now);
        let value = entry.as_ref().map_or(0, |entry| entry.value.len());
        self.changed_bytes += key.len() + value + CHANGE;
        self.changed.insert(key, entry)
    }

    fn look(&mut self, key: &[u8]) -> Result<Option<Entry>, Broken> {
        if let Some(changed) = self.changed.get(key) {
            return Ok(changed.clone());
        }
        let found = self.disk.as_ref().map(|disk| disk.get(key)).transpose();
        Ok(self.note(found)?.flatten())
    }

    // === The changelog ===

    /// The offset from which the changelog has to be read; none for its beginning. It is that of the last record that the
    /// entries contain, to see whether it is still the same changelog.
    pub(crate) fn resume_at(&self) -> Option<i64> {
        self.is_unproven.then_some(self.origin.next - 1)
    }

    /// Takes over a record of the changelog. It may come again, and the limit does not count: what was accepted stays.
    pub(crate) fn restore(&mut self, record: &Record) -> Result<(), Broken> {
        let generation = record.text_header(header::GENERATION);
        let generation = generation.and_then(|id| id.parse().ok());
        if self.is_unproven && self.origin.generation != generation {
            return Ok(());
        }
        self.is_unproven = false;
        self.origin.generation = generation;
        self.origin.next = record.offset + 1;
        self.origin.renew();
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

    /// The changelog was read to its end. If it had nothing, it is a new one.
    pub(crate) fn begin(&mut self) {
        self.origin.generation.get_or_insert_default();
        self.origin.renew();
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
    }

    // === The file ===

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
        self.disk.is_some() && (from..AGE).contains(&self.origin.age())
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

    fn note<T>(&mut self, result: Result<T, redb::Error>) -> Result<T, Broken> {
        result.map_err(|error| {
            if let Some(disk) = self.disk.take() {
                disk.delete();
            }
            self.failure = self.path.as_ref().map(|path| Error::state(path, error));
            Broken
        })
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state file has failed")
    }
}

impl std::error::Error for Broken {}

fn expires_ms(record: &Record) -> Option<i64> {
    record.text_header(header::EXPIRES)?.parse().ok()
}

/// Lends the stores to `place` for as long as `work` lasts.
pub(crate) fn lend<P, T>(
    stores: &mut Stores,
    place: &mut P,
    hold: impl Fn(&mut P) -> &mut Stores,
    work: impl FnOnce(&mut P) -> T,
) -> T {
    mem::swap(stores, hold(place));
    let result = work(place);
    mem::swap(stores, hold(place));
    result
}
