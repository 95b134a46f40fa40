//! A named range: a name and a chosen id for a rectangle of cells.

use serde::{Deserialize, Serialize};

use super::a1::{Area, Span};
use super::refusal::Refusal;

/// A name for cells; its id may be chosen and is unique in the spreadsheet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NamedRange {
    #[serde(default)]
    pub(super) named_range_id: String,
    pub(super) name: String,
    pub(super) range: GridRange,
}

/// Cells of a tab by index, half-open; a missing side is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct GridRange {
    pub(super) sheet_id: i32,
    pub(super) start_row_index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_row_index: Option<u32>,
    pub(super) start_column_index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_column_index: Option<u32>,
}

// === impl NamedRange, GridRange ===

impl NamedRange {
    /// A name that is not taken for anything else, and cells from a first to a last one.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let letters = self.name.chars().all(|c| c.is_alphanumeric() || c == '_');
        let digit_first = self.name.starts_with(|c: char| c.is_ascii_digit());
        if self.name.is_empty() || self.name.len() > 250 || !letters || digit_first {
            return Err(Refusal::invalid(format!(
                "Invalid name for a named range: \"{}\"",
                self.name
            )));
        }
        let Area { rows, columns } = self.range.area();
        if [rows, columns]
            .iter()
            .any(|span| span.end.is_some_and(|end| end <= span.start))
        {
            return Err(Refusal::invalid(
                "The range of a named range must not be empty",
            ));
        }
        Ok(())
    }
}

impl GridRange {
    pub(super) fn area(&self) -> Area {
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
