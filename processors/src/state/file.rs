//! The file with one partition's entries. It is written atomically, and it can always be deleted:
//! whatever is wrong with it, the entries are read from Kafka again.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use redb::{Database, DatabaseError, ReadOnlyTable, ReadableDatabase as _, TableDefinition};

use super::{coverage::Coverage, entry::Entry};

/// An open file. Only one worker can open it at a time.
pub(super) struct StateFile {
    path: Guarded,
    database: Database,
    /// The entries as of the last write.
    entries: Entries,
    expiries: Expiries,
    /// All keys of `expiries` up to this one have been returned since the last write.
    swept: Vec<u8>,
}

/// A path whose file is deleted on a panic: redb panics on some corrupt files, and would do so at
/// every start.
#[derive(Debug)]
struct Guarded(PathBuf);

/// Entries by key.
type Entries = ReadOnlyTable<&'static [u8], &'static [u8]>;
/// Keys of entries that expire, each preceded by its expiry.
type Expiries = ReadOnlyTable<&'static [u8], ()>;

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const EXPIRIES: TableDefinition<'_, &[u8], ()> = TableDefinition::new("ends");
const COVERAGE: TableDefinition<'_, (), &str> = TableDefinition::new("origin");

/// Bytes of pages that redb keeps in memory. The system caches most of the file as well, so a small
/// cache suffices; a process has many files open.
const CACHE: usize = 8 << 20;

/// A partition without writes for this long has moved to another machine.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

// === impl StateFile ===

impl StateFile {
    /// Opens the file and reads its coverage; none if there is no file. An unusable file is
    /// deleted.
    pub(super) fn open(path: &Path) -> Result<Option<(Self, Coverage)>, redb::Error> {
        if !path.exists() {
            return Ok(None);
        }
        let guarded = Guarded(path.to_owned());
        let opened = Database::builder().set_cache_size(CACHE).open(path);
        let read = match opened {
            Ok(database) => Self::read(database, guarded),
            // The file is intact, but another worker still has it open.
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(redb::Error::DatabaseAlreadyOpen);
            }
            Err(error) => Err(error.into()),
        };
        match read {
            Ok((file, Some(coverage))) => return Ok(Some((file, coverage))),
            Ok((_, None)) => {
                tracing::info!(?path, "deleted a state file of another format version");
            }
            Err(error) => tracing::warn!(?path, %error, "deleted an unusable state file"),
        }
        fs::remove_file(path)?;
        Ok(None)
    }

    /// Creates the file.
    pub(super) fn create(path: &Path) -> Result<Self, redb::Error> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let database = Database::builder().set_cache_size(CACHE).create(path)?;
        let writing = database.begin_write()?;
        writing.open_table(ENTRIES)?;
        writing.open_table(EXPIRIES)?;
        writing.open_table(COVERAGE)?;
        writing.commit()?;
        Ok(Self::read(database, Guarded(path.to_owned()))?.0)
    }

    fn read(database: Database, path: Guarded) -> Result<(Self, Option<Coverage>), redb::Error> {
        let reading = database.begin_read()?;
        let coverage = reading.open_table(COVERAGE)?.get(())?;
        let coverage = coverage.and_then(|text| Coverage::from_json(text.value()));
        let file = Self {
            path,
            entries: reading.open_table(ENTRIES)?,
            expiries: reading.open_table(EXPIRIES)?,
            database,
            swept: Vec::new(),
        };
        Ok((file, coverage))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Entry>, redb::Error> {
        let found = self.entries.get(key)?;
        found.map(|bytes| read_entry(bytes.value())).transpose()
    }

    /// Entries from a key onwards, in order.
    pub(super) fn range(&self, from: &[u8]) -> Result<FileRange, redb::Error> {
        Ok(FileRange(self.entries.range(from..)?))
    }

    /// The next keys whose entries have expired by `by_ms`, at most `limit`. Returns each key once.
    pub(super) fn expired(
        &mut self,
        by_ms: i64,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, redb::Error> {
        let until = expiry_key(by_ms.saturating_add(1), &[]);
        if self.swept >= until {
            return Ok(Vec::new());
        }
        let mut keys = Vec::new();
        for end in self
            .expiries
            .range(self.swept.as_slice()..until.as_slice())?
        {
            if keys.len() == limit {
                return Ok(keys);
            }
            let end = end?.0;
            keys.push(end.value().split_at(size_of::<i64>()).1.to_vec());
            // The smallest key after this one.
            self.swept = [end.value(), &[0]].concat();
        }
        self.swept = until;
        Ok(keys)
    }

    /// Writes changes with the coverage that results, and waits until they are on disk.
    pub(super) fn write(
        &mut self,
        changed: &BTreeMap<Vec<u8>, Option<Entry>>,
        coverage: &Coverage,
    ) -> Result<(), redb::Error> {
        let mut writing = self.database.begin_write()?;
        // After a crash the file then opens at once, without a full scan.
        writing.set_quick_repair(true);
        {
            let mut entries = writing.open_table(ENTRIES)?;
            let mut expiries = writing.open_table(EXPIRIES)?;
            for (key, entry) in changed {
                let before = match entry {
                    Some(entry) => entries.insert(key.as_slice(), entry.to_bytes().as_slice())?,
                    None => entries.remove(key.as_slice())?,
                };
                let before = before.map(|bytes| read_entry(bytes.value())).transpose()?;
                if let Some(end) = before.and_then(|before| before.expires_ms) {
                    expiries.remove(expiry_key(end, key).as_slice())?;
                }
                if let Some(end) = entry.as_ref().and_then(|entry| entry.expires_ms) {
                    expiries.insert(expiry_key(end, key).as_slice(), ())?;
                }
            }
            writing
                .open_table(COVERAGE)?
                .insert((), coverage.to_json().as_str())?;
        }
        writing.commit()?;
        let reading = self.database.begin_read()?;
        self.entries = reading.open_table(ENTRIES)?;
        self.expiries = reading.open_table(EXPIRIES)?;
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

impl std::fmt::Debug for StateFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Entries in key order.
pub(super) struct FileRange(redb::Range<'static, &'static [u8], &'static [u8]>);

impl Iterator for FileRange {
    type Item = Result<(Vec<u8>, Entry), redb::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = |found: Result<_, redb::StorageError>| {
            let (key, bytes): (redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, &[u8]>) = found?;
            Ok((key.value().to_vec(), read_entry(bytes.value())?))
        };
        self.0.next().map(read)
    }
}

/// Deletes files of partitions without writes for a week. Errors are only logged, because they cost
/// nothing but disk space.
pub(crate) fn delete_unused(folder: &Path) {
    if let Err(error) = delete_unused_in(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(?folder, %error, "cannot delete unused state files");
    }
}

fn delete_unused_in(folder: &Path) -> io::Result<()> {
    for file in fs::read_dir(folder)? {
        let file = file?;
        if file.file_type()?.is_dir() {
            delete_unused(&file.path());
        } else if file.metadata()?.modified()?.elapsed().unwrap_or_default() > UNUSED {
            tracing::info!(path = ?file.path(), "deleted an unused state file");
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

fn delete(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(?path, %error, "cannot delete a state file");
    }
}

/// A key that sorts by expiry.
fn expiry_key(expires_ms: i64, key: &[u8]) -> Vec<u8> {
    [&expires_ms.max(0).to_be_bytes(), key].concat()
}

fn read_entry(bytes: &[u8]) -> Result<Entry, redb::Error> {
    Entry::from_bytes(bytes).ok_or_else(|| redb::Error::Corrupted("an entry is too short".into()))
}
