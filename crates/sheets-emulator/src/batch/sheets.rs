//! Requests for tabs and named ranges.

use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Batch;
use crate::api_error::ApiError;
use crate::dimension::Dimension;
use crate::mask::FieldMask;
use crate::metadata::Location;
use crate::named_range::NamedRange;
use crate::sheet::{Sheet, SheetProperties};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AddSheet {
    properties: SheetProperties,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeleteSheet {
    #[serde(default)]
    sheet_id: i32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateSheetProperties {
    properties: SheetProperties,
    #[serde(default)]
    fields: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AddNamedRange {
    named_range: NamedRange,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeleteNamedRange {
    named_range_id: String,
}

// === impl Batch ===

impl Batch<'_, '_> {
    /// Adds a tab.
    pub(super) fn add_sheet(&mut self, request: AddSheet) -> Result<Value, ApiError> {
        let id = self.spreadsheet.add_sheet(request.properties)?;
        Ok(json!({ "addSheet": { "properties": self.spreadsheet.sheet_properties(id) } }))
    }

    /// Deletes a tab with its rows and its developer metadata.
    pub(super) fn delete_sheet(&mut self, request: &DeleteSheet) -> Result<Value, ApiError> {
        let id = request.sheet_id;
        self.spreadsheet.delete_sheet(id)?;
        self.tx.remove_rows(self.id, id, 0)?;
        self.remove_metadata_where(|location| location.sheet() == Some(id))?;
        Ok(json!({}))
    }

    /// Changes the properties in the mask. A smaller grid loses the cells outside of it.
    pub(super) fn update_sheet_properties(
        &mut self,
        request: UpdateSheetProperties,
    ) -> Result<Value, ApiError> {
        let Some(mask) = FieldMask::parse(&request.fields)? else {
            return Err(ApiError::invalid(
                "At least one field must be listed in 'fields'. (Use '*' to indicate all fields.)",
            ));
        };
        let id = request.properties.sheet_id.unwrap_or(0);
        let before = self.spreadsheet.sheet(id)?.clone();
        self.spreadsheet.update_sheet(request.properties, &mask)?;
        let after = self.spreadsheet.sheet(id)?.clone();
        self.crop(&before, &after)?;
        Ok(json!({}))
    }

    /// Removes the cells and the metadata outside of a smaller grid.
    fn crop(&mut self, before: &Sheet, after: &Sheet) -> Result<(), ApiError> {
        if after.row_count < before.row_count {
            self.tx.remove_rows(self.id, after.id, after.row_count)?;
        }
        if after.column_count < before.column_count {
            self.crop_columns(after)?;
        }
        self.remove_metadata_where(|location| match *location {
            Location::Line {
                sheet,
                dimension: Dimension::Rows,
                index,
            } => sheet == after.id && index >= after.row_count,
            Location::Line {
                sheet,
                dimension: Dimension::Columns,
                index,
            } => sheet == after.id && index >= after.column_count,
            Location::Spreadsheet | Location::Sheet(_) => false,
        })
    }

    fn crop_columns(&mut self, sheet: &Sheet) -> Result<(), ApiError> {
        let width = sheet.column_count as usize;
        let rows = self.tx.rows(self.id, sheet.id, 0..u32::MAX)?;
        let too_long = rows.filter(|row| {
            row.as_ref()
                .map_or(true, |(_, row)| row.values.len() > width)
        });
        for (index, mut row) in too_long.collect::<Result<Vec<_>, _>>()? {
            row.values.truncate(width);
            self.tx.put_row(self.id, sheet.id, index, row)?;
        }
        Ok(())
    }

    /// Adds a named range.
    pub(super) fn add_named_range(&mut self, request: AddNamedRange) -> Result<Value, ApiError> {
        let named = self.spreadsheet.add_named_range(request.named_range)?;
        Ok(json!({ "addNamedRange": { "namedRange": named } }))
    }

    /// Deletes a named range.
    pub(super) fn delete_named_range(
        &mut self,
        request: &DeleteNamedRange,
    ) -> Result<Value, ApiError> {
        self.spreadsheet
            .delete_named_range(&request.named_range_id)?;
        Ok(json!({}))
    }
}
