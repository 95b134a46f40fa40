//! Requests for tabs and named ranges.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::mask::FieldMask;
use super::super::metadata::{Dimension, Location};
use super::super::named_range::NamedRange;
use super::super::refusal::Refusal;
use super::super::sheet::{Sheet, SheetProperties};
use super::Batch;

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

impl Batch<'_, '_> {
    pub(super) fn add_sheet(&mut self, request: AddSheet) -> Result<Value, Refusal> {
        let id = self.spreadsheet.add_sheet(request.properties)?;
        Ok(json!({ "addSheet": { "properties": self.spreadsheet.sheet_properties(id) } }))
    }

    /// Deletes a tab with its rows and, which the sink must know, its developer metadata.
    pub(super) fn delete_sheet(&mut self, request: &DeleteSheet) -> Result<Value, Refusal> {
        let id = request.sheet_id;
        self.spreadsheet.delete_sheet(id)?;
        self.draft.remove_rows(self.id, id, 0)?;
        self.remove_metadata_where(|location| location.sheet() == Some(id))?;
        Ok(json!({}))
    }

    pub(super) fn update_sheet_properties(
        &mut self,
        request: UpdateSheetProperties,
    ) -> Result<Value, Refusal> {
        let Some(mask) = FieldMask::parse(&request.fields)? else {
            return Err(Refusal::invalid(
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

    /// Drops what a smaller grid has no room for.
    fn crop(&mut self, before: &Sheet, after: &Sheet) -> Result<(), Refusal> {
        if after.row_count < before.row_count {
            self.draft.remove_rows(self.id, after.id, after.row_count)?;
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

    fn crop_columns(&mut self, sheet: &Sheet) -> Result<(), Refusal> {
        let width = sheet.column_count as usize;
        let rows = self.draft.rows(self.id, sheet.id, 0..u32::MAX)?;
        let too_long = rows.filter(|row| {
            row.as_ref()
                .map_or(true, |(_, row)| row.values.len() > width)
        });
        for (index, mut row) in too_long.collect::<Result<Vec<_>, _>>()? {
            row.values.truncate(width);
            self.draft.put_row(self.id, sheet.id, index, row)?;
        }
        Ok(())
    }

    pub(super) fn add_named_range(&mut self, request: AddNamedRange) -> Result<Value, Refusal> {
        let named = self.spreadsheet.add_named_range(request.named_range)?;
        Ok(json!({ "addNamedRange": { "namedRange": named } }))
    }

    pub(super) fn delete_named_range(
        &mut self,
        request: &DeleteNamedRange,
    ) -> Result<Value, Refusal> {
        self.spreadsheet
            .delete_named_range(&request.named_range_id)?;
        Ok(json!({}))
    }
}
