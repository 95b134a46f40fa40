//! `values.append`: finds the table that a range speaks of, and writes below it.

use std::ops::Range;

use serde::Deserialize;
use serde_json::{Value, json};

use super::a1;
use super::batch;
use super::cell::{Input, Row};
use super::refusal::Refusal;
use super::sheet::Sheet;
use super::store::Draft;
use super::values::{self, Place, ValueRange};

/// What becomes of cells where values are to go.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Insert {
    /// They are overwritten; rows are added at the end of the grid only.
    #[default]
    Overwrite,
    /// They move down: as many rows are inserted as values have.
    InsertRows,
}

/// Cells that hang together, as the smallest rectangle around them.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Table {
    rows: Range<u32>,
    columns: Range<u32>,
}

/// Writes values below the last table that the range touches; without one, where the range begins.
pub(super) fn append(
    draft: &mut Draft<'_>,
    id: &str,
    range: &str,
    body: &ValueRange,
    (input, insert): (Input, Insert),
) -> Result<Value, Refusal> {
    let spreadsheet = draft.spreadsheet(id)?;
    let place = Place::find(&spreadsheet, range)?;
    let (rows, columns) = place.clip(range)?;
    let stored = draft.rows(id, place.sheet.id, 0..place.sheet.row_count)?;
    let table = last_table(stored, &rows, &columns)?;
    let (row, column) = match &table {
        Some(table) => (table.rows.end, table.columns.start),
        None => (rows.start, columns.start),
    };
    let title = &place.sheet.title;
    make_room(draft, id, place.sheet, (row, column), body.size(), insert)?;
    let at = a1::write(title, &(row..row + 1), &(column..column + 1));
    let mut answer = json!({
        "spreadsheetId": id,
        "updates": values::write(draft, id, &at, body, input)?,
    });
    if let Some(Table { rows, columns }) = table {
        answer["tableRange"] = a1::write(title, &rows, &columns).into();
    }
    Ok(answer)
}

/// Inserts rows, or adds what the grid lacks.
fn make_room(
    draft: &mut Draft<'_>,
    id: &str,
    sheet: &Sheet,
    (row, column): (u32, u32),
    (height, width): (u32, u32),
    insert: Insert,
) -> Result<(), Refusal> {
    let mut requests = Vec::new();
    let mut add = |dimension: &str, length: u32| {
        let more = json!({ "sheetId": sheet.id, "dimension": dimension, "length": length });
        if length > 0 {
            requests.push(json!({ "appendDimension": more }));
        }
    };
    let lacks =
        |end: u32, length: u32, there: u32| end.saturating_add(length).saturating_sub(there);
    add("COLUMNS", lacks(column, width, sheet.column_count));
    if insert == Insert::Overwrite || row >= sheet.row_count {
        add("ROWS", lacks(row, height, sheet.row_count));
    } else if height > 0 {
        let lines = json!({
            "sheetId": sheet.id,
            "dimension": "ROWS",
            "startIndex": row,
            "endIndex": row.saturating_add(height),
        });
        requests.push(json!({ "insertDimension": { "range": lines } }));
    }
    if !requests.is_empty() {
        batch::apply(draft, id, "", json!({ "requests": requests }))?;
    }
    Ok(())
}

/// The lowest table that shares a cell with the range.
fn last_table(
    stored: impl Iterator<Item = Result<(u32, Row), Refusal>>,
    rows: &Range<u32>,
    columns: &Range<u32>,
) -> Result<Option<Table>, Refusal> {
    let (mut open, mut last): (Vec<Table>, Option<Table>) = (Vec::new(), None);
    let mut close = |table: Table| {
        if meet(&table.rows, rows) && meet(&table.columns, columns) {
            last = Some(table);
        }
    };
    for entry in stored {
        let (index, row) = entry?;
        let (ended, going_on): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|table| table.rows.end < index);
        ended.into_iter().for_each(&mut close);
        open = going_on;
        for run in runs(&row) {
            open = joined(open, index, run);
        }
    }
    open.sort_by_key(|table| table.rows.end);
    open.into_iter().for_each(&mut close);
    Ok(last)
}

/// The columns of one row that have a value, as far as they stand beside each other.
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

/// The tables with a further run of cells, which joins those that it touches, corners included.
fn joined(tables: Vec<Table>, row: u32, run: Range<u32>) -> Vec<Table> {
    let around = run.start.saturating_sub(1)..run.end + 1;
    let (touched, mut others): (Vec<_>, Vec<_>) =
        (tables.into_iter()).partition(|table| meet(&table.columns, &around));
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

fn meet(a: &Range<u32>, b: &Range<u32>) -> bool {
    a.start < b.end && b.start < a.end
}
