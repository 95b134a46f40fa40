//! The dimensions of a grid, and ranges of whole rows or columns.

use serde::{Deserialize, Serialize};

/// `Dimension` of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Dimension {
    Rows,
    Columns,
}

/// `DimensionRange` of the API: whole rows or columns of a sheet, half-open.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DimensionRange {
    #[serde(default)]
    pub(crate) sheet_id: i32,
    pub(crate) dimension: Dimension,
    #[serde(default)]
    pub(crate) start_index: u32,
    pub(crate) end_index: u32,
}
