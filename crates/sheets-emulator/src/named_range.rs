//! Named ranges: names and ids for rectangles of cells.

use serde::{Deserialize, Serialize};

use crate::a1::{Area, Span};
use crate::api_error::ApiError;

/// `NamedRange` of the API. The client may choose the id, which is unique in the spreadsheet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NamedRange {
    #[serde(default)]
    pub(crate) named_range_id: String,
    pub(crate) name: String,
    pub(crate) range: GridRange,
}

/// `GridRange` of the API: cells of a tab, half-open; without an end, a side extends to the end of
/// the grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct GridRange {
    pub(crate) sheet_id: i32,
    pub(crate) start_row_index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_row_index: Option<u32>,
    pub(crate) start_column_index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_column_index: Option<u32>,
}

// === impl NamedRange ===

impl NamedRange {
    /// Checks that the name is valid and the range is not empty.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        let letters = self.name.chars().all(|c| c.is_alphanumeric() || c == '_');
        let digit_first = self.name.starts_with(|c: char| c.is_ascii_digit());
        if self.name.is_empty() || self.name.len() > 250 || !letters || digit_first {
            return Err(ApiError::invalid(format!(
                "Invalid name for a named range: \"{}\"",
                self.name
            )));
        }
        let Area { rows, columns } = self.range.area();
        if [rows, columns]
            .iter()
            .any(|span| span.end.is_some_and(|end| end <= span.start))
        {
            return Err(ApiError::invalid(
                "The range of a named range must not be empty",
            ));
        }
        Ok(())
    }
}

// === impl GridRange ===

impl GridRange {
    /// The cells without the tab.
    pub(crate) fn area(&self) -> Area {
        Area {
            rows: Span {
                start: self.start_row_index,
                end: self.end_row_index,
            },
            columns: Span {
                start: self.start_column_index,
                end: self.end_column_index,
            },
        }
    }
}
