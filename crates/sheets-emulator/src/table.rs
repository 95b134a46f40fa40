//! `values.append`: finds the last table in a range and writes below it.

use std::ops::Range;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::a1;
use crate::api_error::ApiError;
use crate::batch;
use crate::cell::{InputOption, Row};
use crate::sheet::Sheet;
use crate::store::Transaction;
use crate::values::{self, ResolvedRange, ValueRange};

/// What happens to existing cells below the table (`insertDataOption`).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum InsertOption {
    /// They are overwritten; rows are only added at the end of the grid.
    #[default]
    Overwrite,
    /// They move down, because one row is inserted for each row of values.
    InsertRows,
}

/// Adjacent cells, as the smallest rectangle around them.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Table {
    rows: Range<u32>,
    columns: Range<u32>,
}

/// Writes values below the last table that intersects the range, or else at the start of the range.
pub(crate) fn append(
    tx: &mut Transaction<'_>,
    id: &str,
    range: &str,
    body: &ValueRange,
    (input, insert): (InputOption, InsertOption),
) -> Result<Value, ApiError> {
    let spreadsheet = tx.spreadsheet(id)?;
    let target = ResolvedRange::find(&spreadsheet, range)?;
    let (rows, columns) = target.clip(range)?;
    let stored = tx.rows(id, target.sheet.id, 0..target.sheet.row_count)?;
    let table = last_table(stored, &rows, &columns)?;
    let (row, column) = match &table {
        Some(table) => (table.rows.end, table.columns.start),
        None => (rows.start, columns.start),
    };
    let title = &target.sheet.title;
    make_room(tx, id, target.sheet, (row, column), body.size(), insert)?;
    let at = a1::write(title, &(row..row + 1), &(column..column + 1));
    let mut response = json!({
        "spreadsheetId": id,
        "updates": values::write(tx, id, &at, body, input)?,
    });
    if let Some(Table { rows, columns }) = table {
        response["tableRange"] = a1::write(title, &rows, &columns).into();
    }
    Ok(response)
}

/// Inserts rows, or adds missing rows and columns to the grid.
fn make_room(
    tx: &mut Transaction<'_>,
    id: &str,
    sheet: &Sheet,
    (row, column): (u32, u32),
    (height, width): (u32, u32),
    insert: InsertOption,
) -> Result<(), ApiError> {
    let mut requests = Vec::new();
    let mut add = |dimension: &str, length: u32| {
        let more = json!({ "sheetId": sheet.id, "dimension": dimension, "length": length });
        if length > 0 {
            requests.push(json!({ "appendDimension": more }));
        }
    };
    let missing =
        |start: u32, length: u32, size: u32| start.saturating_add(length).saturating_sub(size);
    add("COLUMNS", missing(column, width, sheet.column_count));
    if insert == InsertOption::Overwrite || row >= sheet.row_count {
        add("ROWS", missing(row, height, sheet.row_count));
    } else if height > 0 {
        let range = json!({
            "sheetId": sheet.id,
            "dimension": "ROWS",
            "startIndex": row,
            "endIndex": row.saturating_add(height),
        });
        requests.push(json!({ "insertDimension": { "range": range } }));
    }
    if !requests.is_empty() {
        batch::apply(tx, id, "", json!({ "requests": requests }))?;
    }
    Ok(())
}

/// The lowest table that intersects the range.
fn last_table(
    stored: impl Iterator<Item = Result<(u32, Row), ApiError>>,
    rows: &Range<u32>,
    columns: &Range<u32>,
) -> Result<Option<Table>, ApiError> {
    let (mut open, mut last): (Vec<Table>, Option<Table>) = (Vec::new(), None);
    let mut close = |table: Table| {
        if intersect(&table.rows, rows) && intersect(&table.columns, columns) {
            last = Some(table);
        }
    };
    for entry in stored {
        let (index, row) = entry?;
        let (closed, still_open): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|table| table.rows.end < index);
        closed.into_iter().for_each(&mut close);
        open = still_open;
        for run in runs(&row) {
            open = merge(open, index, run);
        }
    }
    open.sort_by_key(|table| table.rows.end);
    open.into_iter().for_each(&mut close);
    Ok(last)
}

/// The runs of adjacent columns with a value in a row.
fn runs(row: &Row) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for (column, cell) in (0u32..).zip(&row.values) {
        if cell.user_entered_value.is_none() {
            continue;
        }
        match runs.last_mut().filter(|run| run.end == column) {
            Some(run) => run.end += 1,
            None => runs.push(column..column + 1),
        }
    }
    runs
}

/// Adds a run of cells to the tables, and merges it with all tables that it touches, including at a
/// corner.
fn merge(tables: Vec<Table>, row: u32, run: Range<u32>) -> Vec<Table> {
    let around = run.start.saturating_sub(1)..run.end + 1;
    let (touched, mut others): (Vec<_>, Vec<_>) =
        (tables.into_iter()).partition(|table| intersect(&table.columns, &around));
    let new = Table {
        rows: row..row + 1,
        columns: run,
    };
    let union = |a: Range<u32>, b: Range<u32>| a.start.min(b.start)..a.end.max(b.end);
    others.push(touched.into_iter().fold(new, |one, other| Table {
        rows: union(one.rows, other.rows),
        columns: union(one.columns, other.columns),
    }));
    others
}

fn intersect(a: &Range<u32>, b: &Range<u32>) -> bool {
    a.start < b.end && b.start < a.end
}
