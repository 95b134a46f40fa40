//! Requests that write cells or extend the grid.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Batch;
use crate::api_error::ApiError;
use crate::cell::{Cell, CellFields, Row};
use crate::dimension::Dimension;
use crate::named_range::GridRange;
use crate::sheet::Sheet;

/// `AppendCellsRequest` of the API.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AppendCells {
    #[serde(default)]
    sheet_id: i32,
    #[serde(default)]
    rows: Vec<Row>,
    #[serde(default)]
    fields: String,
}

/// `UpdateCellsRequest` of the API.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpdateCells {
    #[serde(default)]
    rows: Vec<Row>,
    #[serde(default)]
    fields: String,
    start: Option<GridCoordinate>,
    range: Option<GridRange>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct GridCoordinate {
    sheet_id: i32,
    row_index: u32,
    column_index: u32,
}

/// `AppendDimensionRequest` of the API.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AppendDimension {
    #[serde(default)]
    sheet_id: i32,
    dimension: Dimension,
    length: u32,
}

/// The cells that a request may write; half-open.
struct Target {
    sheet: i32,
    rows: std::ops::Range<u32>,
    columns: std::ops::Range<u32>,
}

// === impl Batch ===

impl Batch<'_, '_> {
    /// Writes rows after the last row with data. Adds rows to the grid if necessary, but no
    /// columns.
    pub(super) fn append_cells(&mut self, request: &AppendCells) -> Result<Value, ApiError> {
        let fields = CellFields::parse(&request.fields)?;
        let sheet = self.spreadsheet.sheet(request.sheet_id)?;
        let target = Target {
            sheet: sheet.id,
            rows: self.tx.used_rows(self.id, sheet.id)?..u32::MAX,
            columns: 0..sheet.column_count,
        };
        let end = target.check(&request.rows)?;
        let sheet = self.spreadsheet.sheet_mut(target.sheet)?;
        sheet.row_count = sheet.row_count.max(end);
        self.spreadsheet.check_cells()?;
        for (index, row) in (target.rows.start..).zip(&request.rows) {
            self.assign(&target, index, row, fields)?;
        }
        Ok(json!({}))
    }

    /// Writes rows at a start cell or into a range. The rest of a range is cleared.
    pub(super) fn update_cells(&mut self, request: &UpdateCells) -> Result<Value, ApiError> {
        let fields = CellFields::parse(&request.fields)?;
        let target = match (&request.start, &request.range) {
            (Some(start), None) => {
                Target::from_start(start, self.spreadsheet.sheet(start.sheet_id)?)?
            }
            (None, Some(range)) => {
                Target::from_range(range, self.spreadsheet.sheet(range.sheet_id)?)?
            }
            _ => {
                return Err(ApiError::invalid(
                    "Exactly one of start and range must be specified",
                ));
            }
        };
        let end = target.check(&request.rows)?;
        for (index, row) in (target.rows.start..).zip(&request.rows) {
            if request.range.is_some() {
                let mut padded = row.clone();
                padded
                    .values
                    .resize_with(target.columns.len(), Default::default);
                self.assign(&target, index, &padded, fields)?;
            } else {
                self.assign(&target, index, row, fields)?;
            }
        }
        if request.range.is_some() {
            self.clear(
                &Target {
                    rows: end..target.rows.end,
                    ..target
                },
                fields,
            )?;
        }
        Ok(json!({}))
    }

    /// Adds rows or columns at the end of the grid.
    pub(super) fn append_dimension(
        &mut self,
        request: &AppendDimension,
    ) -> Result<Value, ApiError> {
        let sheet = self.spreadsheet.sheet_mut(request.sheet_id)?;
        sheet.grow(request.dimension, request.length)?;
        self.spreadsheet.check_cells()?;
        Ok(json!({}))
    }

    fn assign(
        &mut self,
        target: &Target,
        index: u32,
        row: &Row,
        fields: CellFields,
    ) -> Result<(), ApiError> {
        let mut stored = self.tx.row(self.id, target.sheet, index)?;
        for (column, cell) in (target.columns.start..).zip(&row.values) {
            stored.cell_mut(column).assign(cell, fields);
        }
        self.tx.put_row(self.id, target.sheet, index, stored)
    }

    /// Clears the given fields. Visits only rows that are not empty.
    fn clear(&mut self, target: &Target, fields: CellFields) -> Result<(), ApiError> {
        let stored: BTreeMap<u32, Row> = self
            .tx
            .rows(self.id, target.sheet, target.rows.clone())?
            .collect::<Result<_, _>>()?;
        for (index, mut row) in stored {
            let columns = target.columns.start as usize..target.columns.end as usize;
            for cell in row.values.iter_mut().take(columns.end).skip(columns.start) {
                cell.assign(&Default::default(), fields);
            }
            self.tx.put_row(self.id, target.sheet, index, row)?;
        }
        Ok(())
    }
}

// === impl Target ===

impl Target {
    /// The cells from a start cell to the end of the grid.
    fn from_start(start: &GridCoordinate, sheet: &Sheet) -> Result<Self, ApiError> {
        let GridCoordinate {
            row_index,
            column_index,
            ..
        } = *start;
        if row_index >= sheet.row_count || column_index >= sheet.column_count {
            return Err(outside(sheet));
        }
        let (rows, columns) = (row_index..sheet.row_count, column_index..sheet.column_count);
        Ok(Self {
            sheet: sheet.id,
            rows,
            columns,
        })
    }

    /// The cells of a range, which must be inside the grid and not empty.
    fn from_range(range: &GridRange, sheet: &Sheet) -> Result<Self, ApiError> {
        let area = range.area();
        let fits = |end: Option<u32>, size| end.is_none_or(|end| end <= size);
        let inside =
            fits(area.rows.end, sheet.row_count) && fits(area.columns.end, sheet.column_count);
        let spans = (
            area.rows.within(sheet.row_count),
            area.columns.within(sheet.column_count),
        );
        match spans {
            (Some(rows), Some(columns)) if inside && !rows.is_empty() && !columns.is_empty() => {
                Ok(Self {
                    sheet: sheet.id,
                    rows,
                    columns,
                })
            }
            _ => Err(outside(sheet)),
        }
    }

    /// Checks that all cells are valid and inside the target, and returns the end of the rows.
    fn check(&self, rows: &[Row]) -> Result<u32, ApiError> {
        let beyond = |unit: &str, first: u32| {
            let last = i64::from(first) - 1;
            ApiError::invalid(format!(
                "Attempting to write {unit}: {first}, beyond the last requested {unit} of: {last}"
            ))
        };
        for row in rows {
            if row.values.len() > self.columns.len() {
                return Err(beyond("column", self.columns.end));
            }
            row.values.iter().try_for_each(Cell::check)?;
        }
        let end = u32::try_from(rows.len())
            .ok()
            .and_then(|count| self.rows.start.checked_add(count));
        end.filter(|end| *end <= self.rows.end)
            .ok_or_else(|| beyond("row", self.rows.end))
    }
}

fn outside(sheet: &Sheet) -> ApiError {
    ApiError::invalid(format!(
        "Range ({}) exceeds grid limits. Max rows: {}, max columns: {}",
        sheet.title, sheet.row_count, sheet.column_count
    ))
}
