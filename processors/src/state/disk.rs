//! The file of one partition's entries. It is written whole or not at all, and it can always be deleted: whatever is wrong
//! with it, the entries are read from Kafka again.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use redb::{Database, DatabaseError, ReadOnlyTable, ReadableDatabase as _, TableDefinition};

use super::{entry::Entry, origin::Origin};

/// An open file. Only one worker can have it.
pub(super) struct Disk {
    path: Guarded,
    database: Database,
    /// As it was written last.
    entries: Entries,
    ends: Ends,
    /// Up to this entry of `ends` everything is deleted since.
    swept: Vec<u8>,
}

/// A file that a panic deletes: redb panics at some broken files, and would do so at every start.
#[derive(Debug)]
struct Guarded(PathBuf);

/// Entries by key.
type Entries = ReadOnlyTable<&'static [u8], &'static [u8]>;
/// Keys of entries that end, behind their end.
type Ends = ReadOnlyTable<&'static [u8], ()>;

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const ENDS: TableDefinition<'_, &[u8], ()> = TableDefinition::new("ends");
const ORIGIN: TableDefinition<'_, (), &str> = TableDefinition::new("origin");

/// Pages that redb keeps in memory. Most of the file is in the system's cache as well, so it need not be large; a process
/// has many files open.
const CACHE: usize = 8 << 20;

/// A partition that nobody has worked on for so long lives elsewhere now.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

// === impl Disk ===

impl Disk {
    /// Opens the file with what it says of its origin; none if there is none. A file that cannot be used is deleted.
    pub(super) fn open(path: &Path) -> Result<Option<(Self, Origin)>, redb::Error> {
        if !path.exists() {
            return Ok(None);
        }
        let guarded = Guarded(path.to_owned());
        let opened = Database::builder().set_cache_size(CACHE).open(path);
        let read = match opened {
            Ok(database) => Self::read(database, guarded),
            // It is in order, but another worker has it still.
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(redb::Error::DatabaseAlreadyOpen);
            }
            Err(error) => Err(error.into()),
        };
        match read {
            Ok((disk, Some(origin))) => return Ok(Some((disk, origin))),
            Ok((_, None)) => tracing::info!(?path, "a state file of another version is deleted"),
            Err(error) => tracing::warn!(?path, %error, "an unusable state file is deleted"),
        }
        fs::remove_file(path)?;
        Ok(None)
    }

    /// Makes the file.
    pub(super) fn create(path: &Path) -> Result<Self, redb::Error> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let database = Database::builder().set_cache_size(CACHE).create(path)?;
        let writing = database.begin_write()?;
        writing.open_table(ENTRIES)?;
        writing.open_table(ENDS)?;
        writing.open_table(ORIGIN)?;
        writing.commit()?;
        Ok(Self::read(database, Guarded(path.to_owned()))?.0)
    }

    fn read(database: Database, path: Guarded) -> Result<(Self, Option<Origin>), redb::Error> {
        let reading = database.begin_read()?;
        let origin = reading.open_table(ORIGIN)?.get(())?;
        let origin = origin.and_then(|text| Origin::from_json(text.value()));
        let disk = Self {
            path,
            entries: reading.open_table(ENTRIES)?,
            ends: reading.open_table(ENDS)?,
            database,
            swept: Vec::new(),
        };
        Ok((disk, origin))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Entry>, redb::Error> {
        let found = self.entries.get(key)?;
        found.map(|bytes| read_entry(bytes.value())).transpose()
    }

    /// Entries from a key on, in order.
    pub(super) fn range(&self, from: &[u8]) -> Result<Found, redb::Error> {
        Ok(Found(self.entries.range(from..)?))
    }

    /// The next keys whose entries have ended by then, at most `limit`. Each is given once.
    pub(super) fn ended(&mut self, by_ms: i64, limit: usize) -> Result<Vec<Vec<u8>>, redb::Error> {
        let until = end_key(by_ms.saturating_add(1), &[]);
        if self.swept >= until {
            return Ok(Vec::new());
        }
        let mut keys = Vec::new();
        for end in self.ends.range(self.swept.as_slice()..until.as_slice())? {
            if keys.len() == limit {
                return Ok(keys);
            }
            let end = end?.0;
            keys.push(end.value().split_at(size_of::<i64>()).1.to_vec());
            // The smallest key behind it.
            self.swept = [end.value(), &[0]].concat();
        }
        self.swept = until;
        Ok(keys)
    }

    /// Writes changes and what they make the origin, and waits until they are on the disk.
    pub(super) fn write(
        &mut self,
        changed: &BTreeMap<Vec<u8>, Option<Entry>>,
        origin: &Origin,
    ) -> Result<(), redb::Error> {
        let mut writing = self.database.begin_write()?;
        // After a crash the file opens at once, instead of being read through first.
        writing.set_quick_repair(true);
        {
            let mut entries = writing.open_table(ENTRIES)?;
            let mut ends = writing.open_table(ENDS)?;
            for (key, entry) in changed {
                let before = match entry {
                    Some(entry) => entries.insert(key.as_slice(), entry.to_bytes().as_slice())?,
                    None => entries.remove(key.as_slice())?,
                };
                let before = before.map(|bytes| read_entry(bytes.value())).transpose()?;
                if let Some(end) = before.and_then(|before| before.expires_ms) {
                    ends.remove(end_key(end, key).as_slice())?;
                }
                if let Some(end) = entry.as_ref().and_then(|entry| entry.expires_ms) {
                    ends.insert(end_key(end, key).as_slice(), ())?;
                }
            }
            writing
                .open_table(ORIGIN)?
                .insert((), origin.to_json().as_str())?;
        }
        writing.commit()?;
        let reading = self.database.begin_read()?;
        self.entries = reading.open_table(ENTRIES)?;
        self.ends = reading.open_table(ENDS)?;
        self.swept.clear();
        Ok(())
    }

    /// Closes the file and deletes it.
    pub(super) fn delete(self) {
        delete(&self.path.0);
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            delete(&self.0);
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Entries in order of their keys.
pub(super) struct Found(redb::Range<'static, &'static [u8], &'static [u8]>);

impl Iterator for Found {
    type Item = Result<(Vec<u8>, Entry), redb::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = |found: Result<_, redb::StorageError>| {
            let (key, bytes): (redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, &[u8]>) = found?;
            Ok((key.value().to_vec(), read_entry(bytes.value())?))
        };
        self.0.next().map(read)
    }
}

/// Deletes files of partitions that nobody has worked on for a week. Problems are logged: they cost space, nothing else.
pub(crate) fn sweep(folder: &Path) {
    if let Err(error) = sweep_folder(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(?folder, %error, "old state files are not deleted");
    }
}

fn sweep_folder(folder: &Path) -> io::Result<()> {
    for file in fs::read_dir(folder)? {
        let file = file?;
        if file.file_type()?.is_dir() {
            sweep(&file.path());
        } else if file.metadata()?.modified()?.elapsed().unwrap_or_default() > UNUSED {
            tracing::info!(path = ?file.path(), "an unused state file is deleted");
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

fn delete(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(?path, %error, "a state file cannot be deleted");
    }
}

/// Sorts by time.
fn end_key(end_ms: i64, key: &[u8]) -> Vec<u8> {
    [&end_ms.max(0).to_be_bytes(), key].concat()
}

fn read_entry(bytes: &[u8]) -> Result<Entry, redb::Error> {
    Entry::from_bytes(bytes).ok_or_else(|| redb::Error::Corrupted("an entry has no end".into()))
}
