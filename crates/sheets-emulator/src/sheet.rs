//! A tab: its title and its grid, which holds the cells that are stored row by row elsewhere.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::mask::FieldMask;
use super::metadata::Dimension;
use super::refusal::Refusal;

/// Google's widest grid, up to column `ZZZ`.
const MAX_COLUMNS: u32 = 18_278;

/// A tab and its grid (`SheetProperties` of the API).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sheet {
    pub(super) id: i32,
    pub(super) title: String,
    pub(super) hidden: bool,
    pub(super) row_count: u32,
    pub(super) column_count: u32,
    pub(super) frozen_row_count: u32,
    pub(super) frozen_column_count: u32,
}

/// The properties of a tab as a request gives them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct SheetProperties {
    pub(super) sheet_id: Option<i32>,
    pub(super) title: Option<String>,
    pub(super) index: Option<usize>,
    pub(super) sheet_type: Option<String>,
    pub(super) hidden: Option<bool>,
    pub(super) grid_properties: GridProperties,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct GridProperties {
    row_count: Option<u32>,
    column_count: Option<u32>,
    frozen_row_count: Option<u32>,
    frozen_column_count: Option<u32>,
}

// === impl Sheet ===

impl Sheet {
    pub(super) fn new(id: i32, title: impl Into<String>) -> Self {
        Self {
            id,
            title: title.into(),
            hidden: false,
            row_count: 1_000,
            column_count: 26,
            frozen_row_count: 0,
            frozen_column_count: 0,
        }
    }

    pub(super) fn set_grid(&mut self, grid: &GridProperties) -> Result<(), Refusal> {
        self.row_count = grid.row_count.unwrap_or(self.row_count);
        self.column_count = grid.column_count.unwrap_or(self.column_count);
        self.frozen_row_count = grid.frozen_row_count.unwrap_or(self.frozen_row_count);
        self.frozen_column_count = grid.frozen_column_count.unwrap_or(self.frozen_column_count);
        self.check_grid()
    }

    /// Adds rows or columns at the end. An overflow is over every limit, which is checked next.
    pub(super) fn grow(&mut self, dimension: Dimension, length: u32) -> Result<(), Refusal> {
        let count = self.count_mut(dimension);
        *count = count.saturating_add(length);
        self.check_grid()
    }

    /// How many rows or columns its grid has.
    pub(super) fn count_mut(&mut self, dimension: Dimension) -> &mut u32 {
        match dimension {
            Dimension::Rows => &mut self.row_count,
            Dimension::Columns => &mut self.column_count,
        }
    }

    fn check_grid(&self) -> Result<(), Refusal> {
        if self.row_count == 0 || self.column_count == 0 {
            return Err(Refusal::invalid(
                "A sheet must have at least one row and one column",
            ));
        }
        if self.column_count > MAX_COLUMNS {
            return Err(Refusal::invalid(format!(
                "A sheet may have {MAX_COLUMNS} columns"
            )));
        }
        if self.frozen_row_count >= self.row_count || self.frozen_column_count >= self.column_count
        {
            return Err(Refusal::invalid(
                "You can't freeze all visible rows or columns on the sheet.",
            ));
        }
        Ok(())
    }

    pub(super) fn properties(&self, index: usize) -> Value {
        let mut grid = json!({ "rowCount": self.row_count, "columnCount": self.column_count });
        if self.frozen_row_count > 0 {
            grid["frozenRowCount"] = self.frozen_row_count.into();
        }
        if self.frozen_column_count > 0 {
            grid["frozenColumnCount"] = self.frozen_column_count.into();
        }
        let mut properties = json!({
            "sheetId": self.id,
            "title": self.title,
            "index": index,
            "sheetType": "GRID",
            "gridProperties": grid,
        });
        if self.hidden {
            properties["hidden"] = true.into();
        }
        properties
    }
}

impl GridProperties {
    /// Only what `mask` names; a frozen count that is named but missing means none.
    pub(super) fn masked(&self, mask: &FieldMask) -> Self {
        let named = |name: &str| mask.covers(&format!("gridProperties.{name}"));
        let count = |name: &str, value: Option<u32>| if named(name) { value } else { None };
        let frozen = |name: &str, value: Option<u32>| named(name).then(|| value.unwrap_or(0));
        Self {
            row_count: count("rowCount", self.row_count),
            column_count: count("columnCount", self.column_count),
            frozen_row_count: frozen("frozenRowCount", self.frozen_row_count),
            frozen_column_count: frozen("frozenColumnCount", self.frozen_column_count),
        }
    }
}
