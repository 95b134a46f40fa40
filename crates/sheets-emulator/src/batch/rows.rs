//! Requests that move rows and columns, as users do: insert, delete and sort.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Batch;
use crate::api_error::ApiError;
use crate::cell::{Cell, EnteredValue, Row};
use crate::dimension::{Dimension, DimensionRange};
use crate::metadata::Location;
use crate::named_range::GridRange;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct InsertDimension {
    range: DimensionRange,
    /// Where the format of new cells comes from; the emulator copies no formats.
    #[serde(default, rename = "inheritFromBefore")]
    _inherit_from_before: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeleteDimension {
    range: DimensionRange,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SortRange {
    range: GridRange,
    sort_specs: Vec<SortSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SortSpec {
    #[serde(default)]
    dimension_index: u32,
    #[serde(default)]
    sort_order: SortOrder,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum SortOrder {
    #[default]
    Ascending,
    Descending,
}

// === impl Batch ===

impl Batch<'_, '_> {
    /// Inserts empty rows or columns.
    pub(super) fn insert_dimension(
        &mut self,
        request: &InsertDimension,
    ) -> Result<Value, ApiError> {
        let range = &request.range;
        let (start, count) = self.check_range(range)?;
        let sheet = self.spreadsheet.sheet_mut(range.sheet_id)?;
        sheet.grow(range.dimension, count)?;
        self.spreadsheet.check_cells()?;
        self.move_range(range, |index| {
            Some(if index < start { index } else { index + count })
        })
    }

    /// Deletes rows or columns.
    pub(super) fn delete_dimension(
        &mut self,
        request: &DeleteDimension,
    ) -> Result<Value, ApiError> {
        let range = &request.range;
        let (start, count) = self.check_range(range)?;
        let sheet = self.spreadsheet.sheet_mut(range.sheet_id)?;
        let size = sheet.count_mut(range.dimension);
        if range.end_index > *size || count == *size {
            return Err(ApiError::invalid(
                "The deleted rows or columns must be inside the grid, and at least one must remain",
            ));
        }
        *size -= count;
        self.move_range(range, |index| match index {
            _ if index < start => Some(index),
            _ if index < range.end_index => None,
            _ => Some(index - count),
        })
    }

    /// Sorts rows by one column, with empty cells last. Developer metadata of rows does not move.
    pub(super) fn sort_range(&mut self, request: &SortRange) -> Result<Value, ApiError> {
        let sheet = self.spreadsheet.sheet(request.range.sheet_id)?;
        let area = request.range.area();
        let is_whole =
            area.columns.start == 0 && area.columns.end.is_none_or(|end| end >= sheet.column_count);
        let (Some(rows), true) = (area.rows.within(sheet.row_count), is_whole) else {
            return Err(ApiError::invalid(
                "The emulator only sorts whole rows that are inside the grid",
            ));
        };
        let [by] = request.sort_specs.as_slice() else {
            return Err(ApiError::invalid("The emulator only sorts by one column"));
        };
        let (id, first) = (sheet.id, rows.start);
        let stored = self.tx.rows(self.id, id, rows.clone())?;
        let mut sorted: Vec<Row> = stored
            .map(|entry| entry.map(|(_, row)| row))
            .collect::<Result<_, _>>()?;
        sorted.sort_by(|a, b| by.compare(a, b));
        for (index, row) in
            (first..rows.end).zip(sorted.into_iter().map(Some).chain(std::iter::repeat(None)))
        {
            self.tx
                .put_row(self.id, id, index, row.unwrap_or_default())?;
        }
        Ok(json!({}))
    }

    /// The index of the first row or column, and their number.
    fn check_range(&mut self, range: &DimensionRange) -> Result<(u32, u32), ApiError> {
        let size = *self
            .spreadsheet
            .sheet_mut(range.sheet_id)?
            .count_mut(range.dimension);
        let mut named = self.spreadsheet.named_ranges.iter();
        if named.any(|named| named.range.sheet_id == range.sheet_id) {
            return Err(ApiError::invalid(
                "The emulator does not move named ranges with their cells",
            ));
        }
        let count = range.end_index.checked_sub(range.start_index);
        match count.filter(|count| *count > 0 && range.start_index <= size) {
            Some(count) => Ok((range.start_index, count)),
            None => Err(ApiError::invalid("The range must not be empty")),
        }
    }

    /// Moves rows or columns and their metadata to new indexes; removes those that get `None`.
    fn move_range(
        &mut self,
        range: &DimensionRange,
        moved: impl Fn(u32) -> Option<u32>,
    ) -> Result<Value, ApiError> {
        match range.dimension {
            Dimension::Rows => self.move_rows(range.sheet_id, range.start_index, &moved)?,
            Dimension::Columns => self.move_columns(range.sheet_id, &moved)?,
        }
        for mut entry in self.tx.metadata(self.id)? {
            let Location::Line {
                sheet,
                dimension,
                index,
            } = &mut entry.location
            else {
                continue;
            };
            if *sheet != range.sheet_id || *dimension != range.dimension {
                continue;
            }
            match moved(*index) {
                Some(to) => {
                    *index = to;
                    self.tx.put_metadata(self.id, &entry)?;
                }
                None => self.tx.remove_metadata(self.id, entry.metadata_id)?,
            }
        }
        Ok(json!({}))
    }

    /// Moves the rows from `first` on.
    fn move_rows(
        &mut self,
        sheet: i32,
        first: u32,
        moved: impl Fn(u32) -> Option<u32>,
    ) -> Result<(), ApiError> {
        let rows: Vec<(u32, Row)> = self
            .tx
            .rows(self.id, sheet, first..u32::MAX)?
            .collect::<Result<_, _>>()?;
        self.tx.remove_rows(self.id, sheet, first)?;
        for (index, row) in rows {
            if let Some(index) = moved(index) {
                self.tx.put_row(self.id, sheet, index, row)?;
            }
        }
        Ok(())
    }

    /// Moves columns in all rows.
    fn move_columns(
        &mut self,
        sheet: i32,
        moved: impl Fn(u32) -> Option<u32>,
    ) -> Result<(), ApiError> {
        let rows: Vec<(u32, Row)> = self
            .tx
            .rows(self.id, sheet, 0..u32::MAX)?
            .collect::<Result<_, _>>()?;
        for (index, row) in rows {
            let mut values = Vec::new();
            for (column, cell) in (0..).zip(row.values) {
                if let Some(to) = moved(column) {
                    values.resize(to as usize, Cell::default());
                    values.push(cell);
                }
            }
            self.tx.put_row(self.id, sheet, index, Row { values })?;
        }
        Ok(())
    }
}

// === impl SortSpec ===

impl SortSpec {
    /// Compares as Sheets does: numbers before texts before booleans, and empty cells last in both
    /// orders.
    fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let value = |row: &Row| {
            let cell = row.values.get(self.dimension_index as usize);
            cell.and_then(|cell| cell.user_entered_value.clone())
        };
        let (a, b) = match (value(a), value(b)) {
            (Some(a), Some(b)) => (a, b),
            (a, b) => return b.is_some().cmp(&a.is_some()),
        };
        let ordering = compare(&a, &b);
        if self.sort_order == SortOrder::Descending {
            ordering.reverse()
        } else {
            ordering
        }
    }
}

fn compare(a: &EnteredValue, b: &EnteredValue) -> Ordering {
    let rank = |value: &EnteredValue| match value {
        EnteredValue::NumberValue(_) => 0,
        EnteredValue::StringValue(_) | EnteredValue::FormulaValue(_) => 1,
        EnteredValue::BoolValue(_) => 2,
    };
    match (a, b) {
        (EnteredValue::NumberValue(a), EnteredValue::NumberValue(b)) => a.total_cmp(b),
        _ => (rank(a), a.display()).cmp(&(rank(b), b.display())),
    }
}
