//! The emulator on disk: one redb file, keyed so that a batch costs what it writes, however long the
//! sheet is. A batch is one transaction: it is on the disk before it is answered, or it never was.

use std::path::Path;

use redb::{
    Database, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition,
};
use serde::de::DeserializeOwned;

use super::cell::Row;
use super::error::Error;
use super::metadata::DeveloperMetadata;
use super::refusal::Refusal;
use super::spreadsheet::Spreadsheet;

/// Spreadsheet id to its record.
const SPREADSHEETS: TableDefinition<&str, &[u8]> = TableDefinition::new("spreadsheets");
/// (spreadsheet, sheet, row index) to the row. Rows without content are not stored, so the last row
/// of a sheet is one step from the end of its range.
const ROWS: TableDefinition<RowKey, &[u8]> = TableDefinition::new("rows");
/// (spreadsheet, metadata id) to the entry.
const METADATA: TableDefinition<MetadataKey, &[u8]> = TableDefinition::new("metadata");
/// Access token to its owner and end, so that a restart logs nobody out.
const TOKENS: TableDefinition<&str, (&str, u64)> = TableDefinition::new("tokens");

type RowKey = (&'static str, i32, u32);
type MetadataKey = (&'static str, i32);

const CACHE_BYTES: usize = 64 << 20;
/// Unknown ids make spreadsheets, so a client that invents ids is stopped here.
const MAX_SPREADSHEETS: u64 = 1_000;
const MAX_TOKENS: u64 = 10_000;

/// The open file.
#[derive(Debug)]
pub(super) struct Store {
    database: Database,
}

/// The tables, either of a snapshot or of a running write transaction.
pub(super) struct Tables<S, R, M> {
    spreadsheets: S,
    rows: R,
    metadata: M,
}

/// A consistent view of everything that was committed.
pub(super) type Snapshot = Tables<
    ReadOnlyTable<&'static str, &'static [u8]>,
    ReadOnlyTable<RowKey, &'static [u8]>,
    ReadOnlyTable<MetadataKey, &'static [u8]>,
>;

/// A write transaction; nobody else sees it before it is committed.
pub(super) type Draft<'t> = Tables<
    Table<'t, &'static str, &'static [u8]>,
    Table<'t, RowKey, &'static [u8]>,
    Table<'t, MetadataKey, &'static [u8]>,
>;

// === impl Store ===

impl Store {
    /// Opens or creates the file. After a crash this repairs what the crash left behind.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::database(path.to_owned(), source);
        let mut builder = Database::builder();
        let database = builder
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|e| failed(e.into()))?;
        create_tables(&database).map_err(failed)?;
        Ok(Self { database })
    }

    pub(super) fn read(&self) -> Result<Snapshot, Refusal> {
        let transaction = self.database.begin_read()?;
        Ok(Tables {
            spreadsheets: transaction.open_table(SPREADSHEETS)?,
            rows: transaction.open_table(ROWS)?,
            metadata: transaction.open_table(METADATA)?,
        })
    }

    /// Runs `work` as one transaction. If it refuses, nothing of it is kept; if it succeeds, it is on
    /// the disk when this returns. Waits for the write before it, so not for async threads.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&mut Draft<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let transaction = self.database.begin_write()?;
        let outcome = {
            let mut draft = Tables {
                spreadsheets: transaction.open_table(SPREADSHEETS)?,
                rows: transaction.open_table(ROWS)?,
                metadata: transaction.open_table(METADATA)?,
            };
            work(&mut draft)? // a transaction that is dropped is aborted
        };
        transaction.commit()?;
        Ok(outcome)
    }

    /// Keeps a token until `end` (Unix seconds) and forgets those that ended before `now`.
    pub(super) fn keep_token(
        &self,
        token: &str,
        owner: &str,
        end: u64,
        now: u64,
    ) -> Result<(), Refusal> {
        let transaction = self.database.begin_write()?;
        {
            let mut tokens = transaction.open_table(TOKENS)?;
            tokens.retain(|_, (_, end)| end > now)?;
            if tokens.len()? >= MAX_TOKENS {
                return Err(Refusal::of_status(
                    axum::http::StatusCode::TOO_MANY_REQUESTS,
                ));
            }
            tokens.insert(token, (owner, end))?;
        }
        Ok(transaction.commit()?)
    }

    /// Owner and end of a token.
    pub(super) fn token(&self, token: &str) -> Result<Option<(String, u64)>, Refusal> {
        let tokens = self.database.begin_read()?.open_table(TOKENS)?;
        let found = tokens.get(token)?;
        Ok(found.map(|entry| (entry.value().0.to_owned(), entry.value().1)))
    }
}

/// A snapshot cannot open a table that no transaction has made yet.
fn create_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(SPREADSHEETS)?;
    transaction.open_table(ROWS)?;
    transaction.open_table(METADATA)?;
    transaction.open_table(TOKENS)?;
    Ok(transaction.commit()?)
}

// === reading ===

impl<S, R, M> Tables<S, R, M>
where
    S: ReadableTable<&'static str, &'static [u8]>,
    R: ReadableTable<RowKey, &'static [u8]>,
    M: ReadableTable<MetadataKey, &'static [u8]>,
{
    /// The record of a spreadsheet, if anything was ever written to it.
    pub(super) fn stored(&self, id: &str) -> Result<Option<Spreadsheet>, Refusal> {
        self.spreadsheets
            .get(id)?
            .map(|record| decode(record.value()))
            .transpose()
    }

    /// The spreadsheet, which is a new one if nobody has written to that id.
    pub(super) fn spreadsheet(&self, id: &str) -> Result<Spreadsheet, Refusal> {
        Ok(self.stored(id)?.unwrap_or_else(|| Spreadsheet::new(id)))
    }

    /// All spreadsheets by id, at most `MAX_SPREADSHEETS`.
    pub(super) fn spreadsheets(&self) -> Result<Vec<(String, Spreadsheet)>, Refusal> {
        let entries = self.spreadsheets.range::<&str>(..)?.map(|entry| {
            let (id, record) = entry?;
            Ok((id.value().to_owned(), decode(record.value())?))
        });
        entries.collect()
    }

    /// The stored rows of a part of a sheet with their indexes, in order.
    pub(super) fn rows(
        &self,
        id: &str,
        sheet: i32,
        rows: std::ops::Range<u32>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<(u32, Row), Refusal>>, Refusal> {
        let range = self
            .rows
            .range((id, sheet, rows.start)..(id, sheet, rows.end))?;
        Ok(range.map(|entry| {
            let (key, row) = entry?;
            Ok((key.value().2, decode(row.value())?))
        }))
    }

    /// How many rows of a sheet are used: the index behind its last row with data.
    pub(super) fn used_rows(&self, id: &str, sheet: i32) -> Result<u32, Refusal> {
        for entry in self.rows(id, sheet, 0..u32::MAX)?.rev() {
            let (index, row) = entry?;
            if row.has_data() {
                return Ok(index + 1);
            }
        }
        Ok(0)
    }

    /// All developer metadata of a spreadsheet by id. Small: its size is limited.
    pub(super) fn metadata(&self, id: &str) -> Result<Vec<DeveloperMetadata>, Refusal> {
        let entries = self.metadata.range((id, 0)..=(id, i32::MAX))?;
        entries.map(|entry| decode(entry?.1.value())).collect()
    }
}

fn decode<T: DeserializeOwned>(record: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(record).map_err(|error| Refusal::internal(&error))
}

fn encode<T: serde::Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have string keys and finite numbers")
}

// === writing ===

impl Draft<'_> {
    pub(super) fn put_spreadsheet(
        &mut self,
        id: &str,
        spreadsheet: &Spreadsheet,
    ) -> Result<(), Refusal> {
        let is_new = self
            .spreadsheets
            .insert(id, encode(spreadsheet).as_slice())?
            .is_none();
        if is_new && self.spreadsheets.len()? > MAX_SPREADSHEETS {
            return Err(Refusal::invalid(format!(
                "The emulator keeps {MAX_SPREADSHEETS} spreadsheets: delete its data folder to start anew"
            )));
        }
        Ok(())
    }

    pub(super) fn row(&self, id: &str, sheet: i32, index: u32) -> Result<Row, Refusal> {
        let row = self.rows.get((id, sheet, index))?;
        row.map_or_else(|| Ok(Row::default()), |row| decode(row.value()))
    }

    /// Stores a row, or removes it when nothing is left in it.
    pub(super) fn put_row(
        &mut self,
        id: &str,
        sheet: i32,
        index: u32,
        mut row: Row,
    ) -> Result<(), Refusal> {
        if row.trim() {
            self.rows
                .insert((id, sheet, index), encode(&row).as_slice())?;
        } else {
            self.rows.remove((id, sheet, index))?;
        }
        Ok(())
    }

    /// Removes the rows from `first` on.
    pub(super) fn remove_rows(&mut self, id: &str, sheet: i32, first: u32) -> Result<(), Refusal> {
        Ok(self
            .rows
            .retain_in((id, sheet, first)..=(id, sheet, u32::MAX), |_, _| false)?)
    }

    pub(super) fn has_metadata(&self, id: &str, metadata: i32) -> Result<bool, Refusal> {
        Ok(self.metadata.get((id, metadata))?.is_some())
    }

    pub(super) fn put_metadata(
        &mut self,
        id: &str,
        entry: &DeveloperMetadata,
    ) -> Result<(), Refusal> {
        self.metadata
            .insert((id, entry.metadata_id), encode(entry).as_slice())?;
        Ok(())
    }

    pub(super) fn remove_metadata(&mut self, id: &str, metadata: i32) -> Result<(), Refusal> {
        self.metadata.remove((id, metadata))?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn invented_ids_have_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("many.redb")).unwrap();
        let put = |count: u64| {
            store.write(|draft| {
                (0..count).try_for_each(|id| {
                    draft.put_spreadsheet(&id.to_string(), &Spreadsheet::new("x"))
                })
            })
        };
        assert!(put(MAX_SPREADSHEETS + 1).is_err());
        assert!(store.read().unwrap().spreadsheets().unwrap().is_empty());
        put(MAX_SPREADSHEETS).unwrap();
        put(MAX_SPREADSHEETS).unwrap();
    }

    #[test]
    fn tokens_have_a_bound_and_old_ones_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("tokens.redb")).unwrap();
        let transaction = store.database.begin_write().unwrap();
        {
            let mut tokens = transaction.open_table(TOKENS).unwrap();
            for token in 0..MAX_TOKENS {
                tokens
                    .insert(token.to_string().as_str(), ("robot", 100))
                    .unwrap();
            }
        }
        transaction.commit().unwrap();
        assert!(store.keep_token("one more", "robot", 200, 99).is_err());
        store.keep_token("one more", "robot", 200, 100).unwrap();
        assert!(store.token("0").unwrap().is_none());
    }
}
