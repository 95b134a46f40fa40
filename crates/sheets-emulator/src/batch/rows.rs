//! Requests that move rows and columns, as people do: inserting, deleting and sorting.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::cell::{Cell, EnteredValue, Row};
use super::super::metadata::{Dimension, Location};
use super::super::named_range::GridRange;
use super::super::refusal::Refusal;
use super::Batch;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct InsertDimension {
    range: Lines,
    /// Where the format comes from, which the emulator does not copy.
    #[serde(default, rename = "inheritFromBefore")]
    _inherit_from_before: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeleteDimension {
    range: Lines,
}

/// Whole rows or columns of a tab, half-open.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Lines {
    #[serde(default)]
    sheet_id: i32,
    dimension: Dimension,
    #[serde(default)]
    start_index: u32,
    end_index: u32,
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

impl Batch<'_, '_> {
    pub(super) fn insert_dimension(&mut self, request: &InsertDimension) -> Result<Value, Refusal> {
        let lines = &request.range;
        let (start, count) = self.check_lines(lines)?;
        let sheet = self.spreadsheet.sheet_mut(lines.sheet_id)?;
        sheet.grow(lines.dimension, count)?;
        self.spreadsheet.check_cells()?;
        self.move_lines(lines, |index| {
            Some(if index < start { index } else { index + count })
        })
    }

    pub(super) fn delete_dimension(&mut self, request: &DeleteDimension) -> Result<Value, Refusal> {
        let lines = &request.range;
        let (start, count) = self.check_lines(lines)?;
        let sheet = self.spreadsheet.sheet_mut(lines.sheet_id)?;
        let there = sheet.count_mut(lines.dimension);
        if lines.end_index > *there || count == *there {
            return Err(Refusal::invalid(
                "What is to be deleted must be inside the grid, and one line must stay",
            ));
        }
        *there -= count;
        self.move_lines(lines, |index| match index {
            _ if index < start => Some(index),
            _ if index < lines.end_index => None,
            _ => Some(index - count),
        })
    }

    /// Sorts rows by one of their columns, empty cells last. Nothing else moves: not the developer metadata either.
    pub(super) fn sort_range(&mut self, request: &SortRange) -> Result<Value, Refusal> {
        let sheet = self.spreadsheet.sheet(request.range.sheet_id)?;
        let area = request.range.area();
        let whole =
            area.columns.start == 0 && area.columns.end.is_none_or(|end| end >= sheet.column_count);
        let (Some(rows), true) = (area.rows.within(sheet.row_count), whole) else {
            return Err(Refusal::invalid(
                "The emulator sorts whole rows that are inside the grid",
            ));
        };
        let [by] = request.sort_specs.as_slice() else {
            return Err(Refusal::invalid("The emulator sorts by one column"));
        };
        let (id, first) = (sheet.id, rows.start);
        let stored = self.draft.rows(self.id, id, rows.clone())?;
        let mut sorted: Vec<Row> = stored
            .map(|entry| entry.map(|(_, row)| row))
            .collect::<Result<_, _>>()?;
        sorted.sort_by(|a, b| by.compare(a, b));
        for (index, row) in
            (first..rows.end).zip(sorted.into_iter().map(Some).chain(std::iter::repeat(None)))
        {
            self.draft
                .put_row(self.id, id, index, row.unwrap_or_default())?;
        }
        Ok(json!({}))
    }

    /// The first of the lines, and how many they are.
    fn check_lines(&mut self, lines: &Lines) -> Result<(u32, u32), Refusal> {
        let there = *self
            .spreadsheet
            .sheet_mut(lines.sheet_id)?
            .count_mut(lines.dimension);
        let mut named = self.spreadsheet.named_ranges.iter();
        if named.any(|named| named.range.sheet_id == lines.sheet_id) {
            return Err(Refusal::invalid(
                "The emulator does not move named ranges with their cells",
            ));
        }
        let count = lines.end_index.checked_sub(lines.start_index);
        match count.filter(|count| *count > 0 && lines.start_index <= there) {
            Some(count) => Ok((lines.start_index, count)),
            None => Err(Refusal::invalid("The range must not be empty")),
        }
    }

    /// Gives lines a new index, with their metadata; none removes them.
    fn move_lines(
        &mut self,
        lines: &Lines,
        moved: impl Fn(u32) -> Option<u32>,
    ) -> Result<Value, Refusal> {
        match lines.dimension {
            Dimension::Rows => self.move_rows(lines.sheet_id, lines.start_index, &moved)?,
            Dimension::Columns => self.move_columns(lines.sheet_id, &moved)?,
        }
        for mut entry in self.draft.metadata(self.id)? {
            let Location::Line {
                sheet,
                dimension,
                index,
            } = &mut entry.location
            else {
                continue;
            };
            if *sheet != lines.sheet_id || *dimension != lines.dimension {
                continue;
            }
            match moved(*index) {
                Some(to) => {
                    *index = to;
                    self.draft.put_metadata(self.id, &entry)?;
                }
                None => self.draft.remove_metadata(self.id, entry.metadata_id)?,
            }
        }
        Ok(json!({}))
    }

    /// Those from `first` on.
    fn move_rows(
        &mut self,
        sheet: i32,
        first: u32,
        moved: impl Fn(u32) -> Option<u32>,
    ) -> Result<(), Refusal> {
        let rows: Vec<(u32, Row)> = self
            .draft
            .rows(self.id, sheet, first..u32::MAX)?
            .collect::<Result<_, _>>()?;
        self.draft.remove_rows(self.id, sheet, first)?;
        for (index, row) in rows {
            if let Some(index) = moved(index) {
                self.draft.put_row(self.id, sheet, index, row)?;
            }
        }
        Ok(())
    }

    fn move_columns(
        &mut self,
        sheet: i32,
        moved: impl Fn(u32) -> Option<u32>,
    ) -> Result<(), Refusal> {
        let rows: Vec<(u32, Row)> = self
            .draft
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
            self.draft.put_row(self.id, sheet, index, Row { values })?;
        }
        Ok(())
    }
}

// === impl SortSpec ===

impl SortSpec {
    /// As Sheets does: numbers before texts before booleans, and empty cells last whatever the order.
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
        _ => (rank(a), a.shown()).cmp(&(rank(b), b.shown())),
    }
}
