//! Requests for developer metadata.

use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Batch;
use crate::api_error::ApiError;
use crate::dimension::Dimension;
use crate::mask::FieldMask;
use crate::metadata::{DataFilter, DeveloperMetadata, Location, NewMetadata, check_sizes};
use crate::spreadsheet::random_id;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateDeveloperMetadata {
    developer_metadata: NewMetadata,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpdateDeveloperMetadata {
    data_filters: Vec<DataFilter>,
    developer_metadata: NewMetadata,
    #[serde(default)]
    fields: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeleteDeveloperMetadata {
    data_filter: DataFilter,
}

// === impl Batch ===

impl Batch<'_, '_> {
    /// Creates an entry. An existing id is an error, which the sheets sink uses to prevent
    /// duplicate writes.
    pub(super) fn create_metadata(
        &mut self,
        request: CreateDeveloperMetadata,
    ) -> Result<Value, ApiError> {
        let entry = DeveloperMetadata::create(request.developer_metadata, random_id())?;
        let id = entry.metadata_id;
        if self.tx.has_metadata(self.id, id)? {
            return Err(ApiError::invalid(format!(
                "Cannot add developer metadata with ID [{id}] because developer metadata with that ID already exists."
            )));
        }
        self.put_metadata(&entry)?;
        Ok(json!({ "createDeveloperMetadata": { "developerMetadata": entry } }))
    }

    /// Changes every entry that matches one of the filters.
    pub(super) fn update_metadata(
        &mut self,
        request: &UpdateDeveloperMetadata,
    ) -> Result<Value, ApiError> {
        let Some(mask) = FieldMask::parse(&request.fields)? else {
            return Err(ApiError::invalid(
                "At least one field must be listed in 'fields'.",
            ));
        };
        let known = [
            "*",
            "metadataKey",
            "metadataValue",
            "location",
            "visibility",
        ];
        if let Some(name) = mask.names().find(|name| !known.contains(name)) {
            return Err(ApiError::invalid(format!(
                "The field '{name}' of developer metadata cannot be updated"
            )));
        }
        let matches = |entry: &DeveloperMetadata| {
            request
                .data_filters
                .iter()
                .any(|filter| filter.developer_metadata_lookup.matches(entry))
        };
        let mut updated = Vec::new();
        for mut entry in self.tx.metadata(self.id)?.into_iter().filter(matches) {
            request.developer_metadata.assign_to(&mut entry, &mask);
            self.put_metadata(&entry)?;
            updated.push(entry);
        }
        Ok(json!({ "updateDeveloperMetadata": { "developerMetadata": updated } }))
    }

    /// Deletes every entry that matches the filter.
    pub(super) fn delete_metadata(
        &mut self,
        request: &DeleteDeveloperMetadata,
    ) -> Result<Value, ApiError> {
        let lookup = &request.data_filter.developer_metadata_lookup;
        let mut deleted = self.tx.metadata(self.id)?;
        deleted.retain(|entry| lookup.matches(entry));
        for entry in &deleted {
            self.tx.remove_metadata(self.id, entry.metadata_id)?;
        }
        Ok(json!({ "deleteDeveloperMetadata": { "deletedDeveloperMetadata": deleted } }))
    }

    /// Removes the entries whose location was removed.
    pub(super) fn remove_metadata_where(
        &mut self,
        is_removed: impl Fn(&Location) -> bool,
    ) -> Result<(), ApiError> {
        for entry in self.tx.metadata(self.id)? {
            if is_removed(&entry.location) {
                self.tx.remove_metadata(self.id, entry.metadata_id)?;
            }
        }
        Ok(())
    }

    fn put_metadata(&mut self, entry: &DeveloperMetadata) -> Result<(), ApiError> {
        self.check_location(&entry.location)?;
        self.tx.put_metadata(self.id, entry)?;
        check_sizes(&self.tx.metadata(self.id)?)
    }

    fn check_location(&self, location: &Location) -> Result<(), ApiError> {
        let Some(sheet) = location.sheet() else {
            return Ok(());
        };
        let sheet = self.spreadsheet.sheet(sheet)?;
        let outside = match *location {
            Location::Line {
                dimension: Dimension::Rows,
                index,
                ..
            } => index >= sheet.row_count,
            Location::Line {
                dimension: Dimension::Columns,
                index,
                ..
            } => index >= sheet.column_count,
            Location::Spreadsheet | Location::Sheet(_) => false,
        };
        if outside {
            return Err(ApiError::invalid(
                "The location of developer metadata must be inside the grid",
            ));
        }
        Ok(())
    }
}

// === impl NewMetadata ===

impl NewMetadata {
    /// Sets the fields in the mask. A required field that is missing in the request keeps its
    /// value.
    fn assign_to(&self, entry: &mut DeveloperMetadata, mask: &FieldMask) {
        if let Some(key) = self
            .metadata_key
            .as_ref()
            .filter(|_| mask.covers("metadataKey"))
        {
            entry.metadata_key.clone_from(key);
        }
        if mask.covers("metadataValue") {
            entry.metadata_value.clone_from(&self.metadata_value);
        }
        if let Some(location) = self.location.filter(|_| mask.covers("location")) {
            entry.location = location;
        }
        if let Some(visibility) = self.visibility.filter(|_| mask.covers("visibility")) {
            entry.visibility = visibility;
        }
    }
}
