//! A row on its way from Kafka to a tab: what it says, and its place in the order. Reading refuses whatever is not a
//! row of version 1, the format that the plug-in `rows` writes.

use std::collections::HashSet;

use formline_core::{
    Record,
    event::{self, header},
    record::Partition,
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A row that is not in the sheet yet.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) cells: Vec<Cell>,
    /// The record itself, to be parked if Google refuses the row; a simulated row has none.
    pub(crate) record: Option<Record>,
}

/// The place of a row in the order: time of submission, then id. Where it lies in Kafka makes the key unique.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key {
    /// `ce_time` in microseconds since 1970.
    pub(crate) time: i64,
    /// Id of the submission; never empty.
    pub(crate) id: String,
    pub(crate) partition: Partition,
    pub(crate) offset: i64,
}

/// What one column of a row holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    /// The stable name of the column.
    pub(crate) column: String,
    /// Its heading, used when the column is new.
    pub(crate) title: String,
    pub(crate) value: Value,
}

/// A value as a spreadsheet knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Empty,
    Text(String),
    /// Always finite.
    Number(f64),
    Bool(bool),
}

/// Why a record is no row.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the record has no value")]
    Empty,
    #[error("the value is not a row: {0}")]
    NotARow(#[source] serde_json::Error),
    #[error("the row has version {0}, and only version 1 is known")]
    Version(u32),
    #[error("the row names the column `{0}` twice")]
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

/// Ids of ours have 36 bytes. The mark, whose length is limited, holds one.
const MAX_ID_BYTES: usize = 128;

/// Spreadsheets keep 15 digits. An integer with more, such as a card number, stays whole only as text.
const EXACT: f64 = 999_999_999_999_999.0;

// === impl Row ===

impl Row {
    pub(crate) fn new(record: Record, cells: Vec<Cell>) -> Self {
        Self {
            key: Key::of(&record),
            cells,
            record: Some(record),
        }
    }

    /// Bytes that it holds in memory, roughly.
    pub(crate) fn size(&self) -> usize {
        let cells = self.cells.iter().map(Cell::size).sum::<usize>();
        cells + self.record.as_ref().map_or(0, Record::size) + size_of::<Self>()
    }
}

/// Reads the value of a record.
pub(crate) fn cells(value: &[u8]) -> Result<Vec<Cell>, Malformed> {
    if value.is_empty() {
        return Err(Malformed::Empty);
    }
    let row: RawRow<'_> = serde_json::from_slice(value).map_err(Malformed::NotARow)?;
    if row.version != 1 {
        return Err(Malformed::Version(row.version));
    }
    let cells = row
        .cells
        .into_iter()
        .map(Cell::read)
        .collect::<Result<Vec<_>, _>>()?;
    let mut columns = HashSet::with_capacity(cells.len());
    match cells.iter().find(|cell| !columns.insert(&cell.column)) {
        Some(cell) => Err(Malformed::Twice(cell.column.clone())),
        None => Ok(cells),
    }
}

// === impl Key ===

impl Key {
    /// Less than the key of every row that was submitted at `time`.
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
    fn read(raw: RawCell<'_>) -> Result<Self, Malformed> {
        let RawCell {
            column,
            title,
            value,
        } = raw;
        if column.is_empty() {
            return Err(Malformed::Unnamed);
        }
        let Some(value) = Value::read(value.get()) else {
            return Err(Malformed::Nested(column));
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
        let text = if let Value::Text(text) = &self.value {
            text.len()
        } else {
            0
        };
        self.column.len() + self.title.len() + text + size_of::<Self>()
    }
}

// === impl Value ===

impl Value {
    /// None for an object or array.
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
            Ok(number) if number.is_finite() && (number.abs() <= EXACT || !integer) => {
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

    /// A row of one cell with so many bytes, submitted in the order of the offsets.
    pub(crate) fn row_of(number: i32, offset: i64, bytes: usize) -> Row {
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
        Row::new(record, cells(value).unwrap())
    }

    fn value(json: &str) -> Value {
        let row = format!(
            r#"{{"version":1,"form":"f","cells":[{{"column":"a","title":"A","value":{json}}}]}}"#
        );
        cells(row.as_bytes()).unwrap().pop().unwrap().value
    }

    #[test]
    fn values_keep_their_type_and_every_digit() {
        assert_eq!(value("null"), Value::Empty);
        assert_eq!(value("true"), Value::Bool(true));
        assert_eq!(value("-1.5"), Value::Number(-1.5));
        assert_eq!(value("99999"), Value::Number(99999.0));
        assert_eq!(value(r#""=1+1 \u00e4""#), Value::Text("=1+1 ä".into()));
        assert_eq!(
            value("12345678901234567890"),
            Value::Text("12345678901234567890".into())
        );
        assert_eq!(value("1e999"), Value::Text("1e999".into()));
    }

    #[test]
    fn whatever_is_no_row_is_refused_with_the_reason() {
        let cell =
            |column: &str, value: &str| format!(r#"{{"column":"{column}","value":{value}}}"#);
        let row = |version: u32, cells: &[String]| {
            format!(
                r#"{{"version":{version},"form":"f","cells":[{}]}}"#,
                cells.join(",")
            )
        };
        let whys = [
            (String::new(), "no value"),
            ("[1]".to_owned(), "not a row"),
            ("{".to_owned(), "not a row"),
            (r#"{"version":1}"#.to_owned(), "missing field `cells`"),
            (row(2, &[]), "version 2"),
            (row(1, &[cell("", "1")]), "no name"),
            (row(1, &[cell("a", "1"), cell("a", "2")]), "`a` twice"),
            (row(1, &[cell("a", "[]")]), "object or array"),
        ];
        for (json, part) in whys {
            let why = cells(json.as_bytes()).unwrap_err().to_string();
            assert!(why.contains(part), "{why} for {json}");
        }
    }

    #[test]
    fn a_column_without_a_title_is_headed_by_its_name() {
        let row = br#"{"version":1,"cells":[{"column":"roll","value":1}]}"#;
        assert_eq!(cells(row).unwrap()[0].title, "roll");
    }
}
