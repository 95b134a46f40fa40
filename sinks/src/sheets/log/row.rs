//! A row on its way from Kafka to a tab: its cells, and its position in the order. Only rows of
//! version 1 are accepted, the format that the plug-in `rows` writes.

use std::collections::HashSet;

use formline_core::{
    Record,
    event::{self, header},
    kafka::record::Partition,
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A row that is not in the sheet yet.
#[derive(Clone, Debug)]
pub(crate) struct SheetRow {
    pub(crate) key: RowKey,
    pub(crate) cells: Vec<Cell>,
    /// The record, which is dead-lettered if Google rejects the row. A simulated row has none.
    pub(crate) record: Option<Record>,
}

/// The position of a row in the order: time of submission, then id. Partition and offset make the
/// key unique.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct RowKey {
    /// `ce_time` in microseconds since 1970.
    pub(crate) time: i64,
    /// Id of the submission, never empty.
    pub(crate) id: String,
    pub(crate) partition: Partition,
    pub(crate) offset: i64,
}

/// The content of one column of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    /// The stable name of the column.
    pub(crate) column: String,
    /// Its heading, which is used when the column is new.
    pub(crate) title: String,
    pub(crate) value: CellValue,
}

/// A value of a cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CellValue {
    Empty,
    Text(String),
    /// Always finite.
    Number(f64),
    Bool(bool),
}

/// Why a record is not a row.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MalformedRow {
    #[error("the record has no value")]
    Empty,
    #[error("the value is not a row: {0}")]
    NotARow(#[source] serde_json::Error),
    #[error("the row has version {0}; only version 1 is supported")]
    Version(u32),
    #[error("the row has the column `{0}` twice")]
    Twice(String),
    #[error("a column has no name")]
    Unnamed,
    #[error("the value of column `{0}` is an object or array; write it as text")]
    Nested(String),
}

#[derive(Deserialize)]
struct RawRow<'a> {
    version: u32,
    #[serde(borrow)]
    cells: Vec<RawCell<'a>>,
}

#[derive(Deserialize)]
struct RawCell<'a> {
    column: String,
    title: Option<String>,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// The ids that Formline generates have 36 bytes. The checkpoint, whose length is limited, stores
/// one id.
const MAX_ID_BYTES: usize = 128;

/// Spreadsheets keep 15 digits. A longer integer, such as a card number, is exact only as text.
const MAX_EXACT_INTEGER: f64 = 999_999_999_999_999.0;

// === impl SheetRow ===

impl SheetRow {
    pub(crate) fn new(record: Record, cells: Vec<Cell>) -> Self {
        Self {
            key: RowKey::of(&record),
            cells,
            record: Some(record),
        }
    }

    /// The approximate number of bytes that it takes in memory.
    pub(crate) fn size(&self) -> usize {
        let cells = self.cells.iter().map(Cell::size).sum::<usize>();
        cells + self.record.as_ref().map_or(0, Record::size) + size_of::<Self>()
    }
}

/// Parses the value of a record.
pub(crate) fn read_cells(value: &[u8]) -> Result<Vec<Cell>, MalformedRow> {
    if value.is_empty() {
        return Err(MalformedRow::Empty);
    }
    let row: RawRow<'_> = serde_json::from_slice(value).map_err(MalformedRow::NotARow)?;
    if row.version != 1 {
        return Err(MalformedRow::Version(row.version));
    }
    let cells = row
        .cells
        .into_iter()
        .map(Cell::read)
        .collect::<Result<Vec<_>, _>>()?;
    let mut columns = HashSet::with_capacity(cells.len());
    match cells.iter().find(|cell| !columns.insert(&cell.column)) {
        Some(cell) => Err(MalformedRow::Twice(cell.column.clone())),
        None => Ok(cells),
    }
}

// === impl RowKey ===

impl RowKey {
    /// A key below those of all rows that were submitted at `time`.
    pub(crate) fn first_at(time: i64) -> Self {
        let partition = Partition {
            topic: "".into(),
            number: i32::MIN,
        };
        Self {
            time,
            id: String::new(),
            partition,
            offset: i64::MIN,
        }
    }

    fn of(record: &Record) -> Self {
        let ids =
            [header::ORIGIN, header::ID].map(|name| record.text_header(name).unwrap_or_default());
        let id = ids.into_iter().find(|id| !id.is_empty());
        let mut id = id.map_or_else(|| format!("{record:?}"), str::to_owned);
        id.truncate(id.floor_char_boundary(MAX_ID_BYTES));
        Self {
            time: event::time(record).as_microsecond(),
            id,
            partition: record.partition.clone(),
            offset: record.offset,
        }
    }
}

// === impl Cell ===

impl Cell {
    fn read(raw: RawCell<'_>) -> Result<Self, MalformedRow> {
        let RawCell {
            column,
            title,
            value,
        } = raw;
        if column.is_empty() {
            return Err(MalformedRow::Unnamed);
        }
        let Some(value) = CellValue::read(value.get()) else {
            return Err(MalformedRow::Nested(column));
        };
        let title = title
            .filter(|title| !title.is_empty())
            .unwrap_or_else(|| column.clone());
        Ok(Self {
            column,
            title,
            value,
        })
    }

    pub(crate) fn size(&self) -> usize {
        let text = if let CellValue::Text(text) = &self.value {
            text.len()
        } else {
            0
        };
        self.column.len() + self.title.len() + text + size_of::<Self>()
    }
}

// === impl CellValue ===

impl CellValue {
    /// `None` for an object or an array.
    fn read(json: &str) -> Option<Self> {
        match json.as_bytes().first()? {
            b'n' => Some(Self::Empty),
            b't' => Some(Self::Bool(true)),
            b'f' => Some(Self::Bool(false)),
            b'"' => serde_json::from_str(json).ok().map(Self::Text),
            b'{' | b'[' => None,
            _ => Some(Self::number(json)),
        }
    }

    fn number(json: &str) -> Self {
        let integer = !json.contains(['.', 'e', 'E']);
        match json.parse::<f64>() {
            Ok(number) if number.is_finite() && (number.abs() <= MAX_EXACT_INTEGER || !integer) => {
                Self::Number(number)
            }
            _ => Self::Text(json.to_owned()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A row with one cell of this size. Rows are submitted in the order of their offsets.
    pub(crate) fn row_of(number: i32, offset: i64, bytes: usize) -> SheetRow {
        let partition = Partition {
            topic: "rows".into(),
            number,
        };
        let value = format!(
            r#"{{"version":1,"cells":[{{"column":"a","value":"{}"}}]}}"#,
            "x".repeat(bytes)
        );
        let (value, id) = (value.as_bytes(), format!("id-{number}|{offset}"));
        let headers = [(header::ID, id.as_bytes())];
        let record = Record::new(partition, offset, offset, None, Some(value), &headers);
        SheetRow::new(record, read_cells(value).unwrap())
    }

    fn value(json: &str) -> CellValue {
        let row = format!(
            r#"{{"version":1,"form":"f","cells":[{{"column":"a","title":"A","value":{json}}}]}}"#
        );
        read_cells(row.as_bytes()).unwrap().pop().unwrap().value
    }

    #[test]
    fn values_keep_their_type_and_every_digit() {
        assert_eq!(value("null"), CellValue::Empty);
        assert_eq!(value("true"), CellValue::Bool(true));
        assert_eq!(value("-1.5"), CellValue::Number(-1.5));
        assert_eq!(value("99999"), CellValue::Number(99999.0));
        assert_eq!(value(r#""=1+1 \u00e4""#), CellValue::Text("=1+1 ä".into()));
        assert_eq!(
            value("12345678901234567890"),
            CellValue::Text("12345678901234567890".into())
        );
        assert_eq!(value("1e999"), CellValue::Text("1e999".into()));
    }

    #[test]
    fn malformed_rows_are_rejected_with_the_reason() {
        let cell =
            |column: &str, value: &str| format!(r#"{{"column":"{column}","value":{value}}}"#);
        let row = |version: u32, cells: &[String]| {
            format!(
                r#"{{"version":{version},"form":"f","cells":[{}]}}"#,
                cells.join(",")
            )
        };
        let cases = [
            (String::new(), "no value"),
            ("[1]".to_owned(), "not a row"),
            ("{".to_owned(), "not a row"),
            (r#"{"version":1}"#.to_owned(), "missing field `cells`"),
            (row(2, &[]), "version 2"),
            (row(1, &[cell("", "1")]), "no name"),
            (row(1, &[cell("a", "1"), cell("a", "2")]), "`a` twice"),
            (row(1, &[cell("a", "[]")]), "object or array"),
        ];
        for (json, part) in cases {
            let why = read_cells(json.as_bytes()).unwrap_err().to_string();
            assert!(why.contains(part), "{why} for {json}");
        }
    }

    #[test]
    fn the_heading_of_a_column_without_a_title_is_its_name() {
        let row = br#"{"version":1,"cells":[{"column":"roll","value":1}]}"#;
        assert_eq!(read_cells(row).unwrap()[0].title, "roll");
    }
}
