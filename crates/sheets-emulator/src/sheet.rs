//! A tab: its title and the size of its grid. The store keeps its rows separately.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::dimension::Dimension;
use crate::mask::FieldMask;

/// Maximum number of columns, up to `ZZZ`. Google has the same limit.
const MAX_COLUMNS: u32 = 18_278;

/// A tab as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sheet {
    pub(crate) id: i32,
    pub(crate) title: String,
    pub(crate) hidden: bool,
    pub(crate) row_count: u32,
    pub(crate) column_count: u32,
    pub(crate) frozen_row_count: u32,
    pub(crate) frozen_column_count: u32,
}

/// `SheetProperties` of the API in a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SheetProperties {
    pub(crate) sheet_id: Option<i32>,
    pub(crate) title: Option<String>,
    pub(crate) index: Option<usize>,
    pub(crate) sheet_type: Option<String>,
    pub(crate) hidden: Option<bool>,
    pub(crate) grid_properties: GridProperties,
}

/// `GridProperties` of the API in a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct GridProperties {
    row_count: Option<u32>,
    column_count: Option<u32>,
    frozen_row_count: Option<u32>,
    frozen_column_count: Option<u32>,
}

// === impl Sheet ===

impl Sheet {
    /// A tab with the size that Google gives to new tabs.
    pub(crate) fn new(id: i32, title: impl Into<String>) -> Self {
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

    /// Sets the given properties of the grid.
    pub(crate) fn set_grid(&mut self, grid: &GridProperties) -> Result<(), ApiError> {
        self.row_count = grid.row_count.unwrap_or(self.row_count);
        self.column_count = grid.column_count.unwrap_or(self.column_count);
        self.frozen_row_count = grid.frozen_row_count.unwrap_or(self.frozen_row_count);
        self.frozen_column_count = grid.frozen_column_count.unwrap_or(self.frozen_column_count);
        self.check_grid()
    }

    /// Adds rows or columns at the end. A number that overflows saturates, which exceeds the
    /// limits.
    pub(crate) fn grow(&mut self, dimension: Dimension, length: u32) -> Result<(), ApiError> {
        let count = self.count_mut(dimension);
        *count = count.saturating_add(length);
        self.check_grid()
    }

    /// The number of rows or columns.
    pub(crate) fn count_mut(&mut self, dimension: Dimension) -> &mut u32 {
        match dimension {
            Dimension::Rows => &mut self.row_count,
            Dimension::Columns => &mut self.column_count,
        }
    }

    fn check_grid(&self) -> Result<(), ApiError> {
        if self.row_count == 0 || self.column_count == 0 {
            return Err(ApiError::invalid(
                "A sheet must have at least one row and one column",
            ));
        }
        if self.column_count > MAX_COLUMNS {
            return Err(ApiError::invalid(format!(
                "A sheet may have at most {MAX_COLUMNS} columns"
            )));
        }
        if self.frozen_row_count >= self.row_count || self.frozen_column_count >= self.column_count
        {
            return Err(ApiError::invalid(
                "You can't freeze all visible rows or columns on the sheet.",
            ));
        }
        Ok(())
    }

    /// `SheetProperties` of the API in a response.
    pub(crate) fn properties(&self, index: usize) -> Value {
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

// === impl GridProperties ===

impl GridProperties {
    /// Only the properties in the mask. A frozen count that is in the mask but missing becomes 0.
    pub(crate) fn masked(&self, mask: &FieldMask) -> Self {
        let selected = |name: &str| mask.covers(&format!("gridProperties.{name}"));
        let count = |name: &str, value: Option<u32>| if selected(name) { value } else { None };
        let frozen = |name: &str, value: Option<u32>| selected(name).then(|| value.unwrap_or(0));
        Self {
            row_count: count("rowCount", self.row_count),
            column_count: count("columnCount", self.column_count),
            frozen_row_count: frozen("frozenRowCount", self.frozen_row_count),
            frozen_column_count: frozen("frozenColumnCount", self.frozen_column_count),
        }
    }
}
