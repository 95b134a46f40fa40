//! The storage of the emulator: one redb file. The cost of a batch depends on the rows that it
//! writes and not on the size of the sheet. A batch is one transaction, which is durable before the
//! client gets its response.

use std::path::Path;

use redb::{
    Database, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition,
};
use serde::de::DeserializeOwned;

use crate::api_error::ApiError;
use crate::cell::Row;
use crate::error::Error;
use crate::metadata::DeveloperMetadata;
use crate::spreadsheet::Spreadsheet;

/// Spreadsheet id -> its record.
const SPREADSHEETS: TableDefinition<&str, &[u8]> = TableDefinition::new("spreadsheets");
/// (spreadsheet, sheet, row index) -> row. Empty rows are not stored, so the last row of a sheet is
/// at the end of its range.
const ROWS: TableDefinition<RowKey, &[u8]> = TableDefinition::new("rows");
/// (spreadsheet, metadata id) -> entry.
const METADATA: TableDefinition<MetadataKey, &[u8]> = TableDefinition::new("metadata");
/// Access token -> owner and expiry, so that tokens survive a restart.
const TOKENS: TableDefinition<&str, (&str, u64)> = TableDefinition::new("tokens");

type RowKey = (&'static str, i32, u32);
type MetadataKey = (&'static str, i32);

/// Size of the database cache.
const CACHE_BYTES: usize = 64 << 20;
/// Maximum number of spreadsheets, because a write to an unknown id creates one.
const MAX_SPREADSHEETS: u64 = 1_000;
/// Maximum number of valid tokens.
const MAX_TOKENS: u64 = 10_000;

/// The open file.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
}

/// The tables of a snapshot or of a write transaction.
pub(crate) struct Tables<S, R, M> {
    spreadsheets: S,
    rows: R,
    metadata: M,
}

/// A consistent view of the committed data.
pub(crate) type Snapshot = Tables<
    ReadOnlyTable<&'static str, &'static [u8]>,
    ReadOnlyTable<RowKey, &'static [u8]>,
    ReadOnlyTable<MetadataKey, &'static [u8]>,
>;

/// A write transaction; its changes are visible to others after the commit.
pub(crate) type Transaction<'t> = Tables<
    Table<'t, &'static str, &'static [u8]>,
    Table<'t, RowKey, &'static [u8]>,
    Table<'t, MetadataKey, &'static [u8]>,
>;

// === impl Store ===

impl Store {
    /// Opens or creates the file, and repairs it after a crash.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::database(path.to_owned(), source);
        let mut builder = Database::builder();
        let database = builder
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|e| failed(e.into()))?;
        create_tables(&database).map_err(failed)?;
        Ok(Self { database })
    }

    /// A snapshot of the committed data.
    pub(crate) fn read(&self) -> Result<Snapshot, ApiError> {
        let transaction = self.database.begin_read()?;
        Ok(Tables {
            spreadsheets: transaction.open_table(SPREADSHEETS)?,
            rows: transaction.open_table(ROWS)?,
            metadata: transaction.open_table(METADATA)?,
        })
    }

    /// Runs `work` as one transaction. On an error the transaction is aborted; on success it is
    /// durable when this returns. Blocks while another transaction writes, so it must not run on an
    /// async thread.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let transaction = self.database.begin_write()?;
        let outcome = {
            let mut tx = Tables {
                spreadsheets: transaction.open_table(SPREADSHEETS)?,
                rows: transaction.open_table(ROWS)?,
                metadata: transaction.open_table(METADATA)?,
            };
            // On an error, dropping the transaction aborts it.
            work(&mut tx)?
        };
        transaction.commit()?;
        Ok(outcome)
    }

    /// Stores a token that expires at `expiry` (Unix seconds), and removes those that expired
    /// before `now`.
    pub(crate) fn put_token(
        &self,
        token: &str,
        owner: &str,
        expiry: u64,
        now: u64,
    ) -> Result<(), ApiError> {
        let transaction = self.database.begin_write()?;
        {
            let mut tokens = transaction.open_table(TOKENS)?;
            tokens.retain(|_, (_, expiry)| expiry > now)?;
            if tokens.len()? >= MAX_TOKENS {
                return Err(ApiError::of_status(
                    axum::http::StatusCode::TOO_MANY_REQUESTS,
                ));
            }
            tokens.insert(token, (owner, expiry))?;
        }
        Ok(transaction.commit()?)
    }

    /// The owner and expiry of a token.
    pub(crate) fn token(&self, token: &str) -> Result<Option<(String, u64)>, ApiError> {
        let tokens = self.database.begin_read()?.open_table(TOKENS)?;
        let found = tokens.get(token)?;
        Ok(found.map(|entry| (entry.value().0.to_owned(), entry.value().1)))
    }
}

/// Creates all tables, because a snapshot cannot open a table that does not exist.
fn create_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(SPREADSHEETS)?;
    transaction.open_table(ROWS)?;
    transaction.open_table(METADATA)?;
    transaction.open_table(TOKENS)?;
    Ok(transaction.commit()?)
}

// === impl Tables ===

impl<S, R, M> Tables<S, R, M>
where
    S: ReadableTable<&'static str, &'static [u8]>,
    R: ReadableTable<RowKey, &'static [u8]>,
    M: ReadableTable<MetadataKey, &'static [u8]>,
{
    /// The record of a spreadsheet, if it exists.
    pub(crate) fn stored(&self, id: &str) -> Result<Option<Spreadsheet>, ApiError> {
        self.spreadsheets
            .get(id)?
            .map(|record| decode(record.value()))
            .transpose()
    }

    /// The spreadsheet, or an empty one if it does not exist.
    pub(crate) fn spreadsheet(&self, id: &str) -> Result<Spreadsheet, ApiError> {
        Ok(self.stored(id)?.unwrap_or_else(|| Spreadsheet::new(id)))
    }

    /// All spreadsheets, ordered by id. There are at most `MAX_SPREADSHEETS`.
    pub(crate) fn spreadsheets(&self) -> Result<Vec<(String, Spreadsheet)>, ApiError> {
        let entries = self.spreadsheets.range::<&str>(..)?.map(|entry| {
            let (id, record) = entry?;
            Ok((id.value().to_owned(), decode(record.value())?))
        });
        entries.collect()
    }

    /// The stored rows of a range of a sheet with their indexes, in order.
    pub(crate) fn rows(
        &self,
        id: &str,
        sheet: i32,
        rows: std::ops::Range<u32>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<(u32, Row), ApiError>>, ApiError> {
        let range = self
            .rows
            .range((id, sheet, rows.start)..(id, sheet, rows.end))?;
        Ok(range.map(|entry| {
            let (key, row) = entry?;
            Ok((key.value().2, decode(row.value())?))
        }))
    }

    /// The number of used rows of a sheet: the index after its last row with data.
    pub(crate) fn used_rows(&self, id: &str, sheet: i32) -> Result<u32, ApiError> {
        for entry in self.rows(id, sheet, 0..u32::MAX)?.rev() {
            let (index, row) = entry?;
            if row.has_data() {
                return Ok(index + 1);
            }
        }
        Ok(0)
    }

    /// All developer metadata of a spreadsheet, ordered by id. Its total size is limited.
    pub(crate) fn metadata(&self, id: &str) -> Result<Vec<DeveloperMetadata>, ApiError> {
        let entries = self.metadata.range((id, 0)..=(id, i32::MAX))?;
        entries.map(|entry| decode(entry?.1.value())).collect()
    }
}

fn decode<T: DeserializeOwned>(record: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(record).map_err(|error| ApiError::internal(&error))
}

fn encode<T: serde::Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record)
        .expect("records have string keys and finite numbers, so they serialize")
}

// === impl Transaction ===

impl Transaction<'_> {
    /// Stores the record of a spreadsheet.
    pub(crate) fn put_spreadsheet(
        &mut self,
        id: &str,
        spreadsheet: &Spreadsheet,
    ) -> Result<(), ApiError> {
        let is_new = self
            .spreadsheets
            .insert(id, encode(spreadsheet).as_slice())?
            .is_none();
        if is_new && self.spreadsheets.len()? > MAX_SPREADSHEETS {
            return Err(ApiError::invalid(format!(
                "The emulator stores at most {MAX_SPREADSHEETS} spreadsheets; stop it and delete its data folder"
            )));
        }
        Ok(())
    }

    /// A row, which is empty if it is not stored.
    pub(crate) fn row(&self, id: &str, sheet: i32, index: u32) -> Result<Row, ApiError> {
        let row = self.rows.get((id, sheet, index))?;
        row.map_or_else(|| Ok(Row::default()), |row| decode(row.value()))
    }

    /// Stores a row, or removes it if it is empty.
    pub(crate) fn put_row(
        &mut self,
        id: &str,
        sheet: i32,
        index: u32,
        mut row: Row,
    ) -> Result<(), ApiError> {
        if row.trim() {
            self.rows
                .insert((id, sheet, index), encode(&row).as_slice())?;
        } else {
            self.rows.remove((id, sheet, index))?;
        }
        Ok(())
    }

    /// Removes all rows from `first` on.
    pub(crate) fn remove_rows(&mut self, id: &str, sheet: i32, first: u32) -> Result<(), ApiError> {
        Ok(self
            .rows
            .retain_in((id, sheet, first)..=(id, sheet, u32::MAX), |_, _| false)?)
    }

    /// Whether an entry with this id exists.
    pub(crate) fn has_metadata(&self, id: &str, metadata: i32) -> Result<bool, ApiError> {
        Ok(self.metadata.get((id, metadata))?.is_some())
    }

    /// Stores an entry.
    pub(crate) fn put_metadata(
        &mut self,
        id: &str,
        entry: &DeveloperMetadata,
    ) -> Result<(), ApiError> {
        self.metadata
            .insert((id, entry.metadata_id), encode(entry).as_slice())?;
        Ok(())
    }

    /// Removes an entry.
    pub(crate) fn remove_metadata(&mut self, id: &str, metadata: i32) -> Result<(), ApiError> {
        self.metadata.remove((id, metadata))?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_records_is_stable() {
        let spreadsheet = encode(&Spreadsheet::new("x"));
        assert_eq!(
            String::from_utf8(spreadsheet).unwrap(),
            r#"{"title":"x","sheets":[{"id":0,"title":"Sheet1","hidden":false,"row_count":1000,"column_count":26,"frozen_row_count":0,"frozen_column_count":0}],"named_ranges":[]}"#
        );
        for record in [
            r#"{"values":[{"userEnteredValue":{"stringValue":"a"}},{"userEnteredValue":{"numberValue":1.5}}]}"#,
            r#"{"values":[{"userEnteredValue":{"formulaValue":"=A1"},"userEnteredFormat":{"textFormat":{"bold":true}}}]}"#,
        ] {
            let row: Row = decode(record.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(encode(&row)).unwrap(), record);
        }
        let record = r#"{"metadataId":7,"metadataKey":"k","metadataValue":"v","location":{"locationType":"ROW","dimensionRange":{"sheetId":4,"dimension":"ROWS","startIndex":2,"endIndex":3}},"visibility":"DOCUMENT"}"#;
        let entry: DeveloperMetadata = decode(record.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(encode(&entry)).unwrap(), record);
    }

    #[test]
    fn the_number_of_spreadsheets_is_limited() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("many.redb")).unwrap();
        let put = |count: u64| {
            store.write(|tx| {
                (0..count)
                    .try_for_each(|id| tx.put_spreadsheet(&id.to_string(), &Spreadsheet::new("x")))
            })
        };
        assert!(put(MAX_SPREADSHEETS + 1).is_err());
        assert!(store.read().unwrap().spreadsheets().unwrap().is_empty());
        put(MAX_SPREADSHEETS).unwrap();
        put(MAX_SPREADSHEETS).unwrap();
    }

    #[test]
    fn the_number_of_tokens_is_limited_and_expired_ones_are_removed() {
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
        assert!(store.put_token("one more", "robot", 200, 99).is_err());
        store.put_token("one more", "robot", 200, 100).unwrap();
        assert!(store.token("0").unwrap().is_none());
    }
}
