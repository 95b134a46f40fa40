//! Requests for developer metadata.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::mask::FieldMask;
use super::super::metadata::{
    DataFilter, DeveloperMetadata, Dimension, Location, NewMetadata, check_sizes,
};
use super::super::refusal::Refusal;
use super::super::spreadsheet::random_id;
use super::Batch;

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

impl Batch<'_, '_> {
    /// Creates an entry. An id that exists is refused: the sink's protection against a double write.
    pub(super) fn create_metadata(
        &mut self,
        request: CreateDeveloperMetadata,
    ) -> Result<Value, Refusal> {
        let entry = DeveloperMetadata::create(request.developer_metadata, random_id())?;
        let id = entry.metadata_id;
        if self.draft.has_metadata(self.id, id)? {
            return Err(Refusal::invalid(format!(
                "Cannot add developer metadata with ID [{id}] because developer metadata with that ID already exists."
            )));
        }
        self.put_metadata(&entry)?;
        Ok(json!({ "createDeveloperMetadata": { "developerMetadata": entry } }))
    }

    /// Changes every entry that one of the filters finds.
    pub(super) fn update_metadata(
        &mut self,
        request: &UpdateDeveloperMetadata,
    ) -> Result<Value, Refusal> {
        let Some(mask) = FieldMask::parse(&request.fields)? else {
            return Err(Refusal::invalid(
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
            return Err(Refusal::invalid(format!(
                "The field '{name}' of developer metadata cannot be updated"
            )));
        }
        let found = |entry: &DeveloperMetadata| {
            request
                .data_filters
                .iter()
                .any(|filter| filter.developer_metadata_lookup.matches(entry))
        };
        let mut updated = Vec::new();
        for mut entry in self.draft.metadata(self.id)?.into_iter().filter(found) {
            request.developer_metadata.assign_to(&mut entry, &mask);
            self.put_metadata(&entry)?;
            updated.push(entry);
        }
        Ok(json!({ "updateDeveloperMetadata": { "developerMetadata": updated } }))
    }

    pub(super) fn delete_metadata(
        &mut self,
        request: &DeleteDeveloperMetadata,
    ) -> Result<Value, Refusal> {
        let lookup = &request.data_filter.developer_metadata_lookup;
        let mut deleted = self.draft.metadata(self.id)?;
        deleted.retain(|entry| lookup.matches(entry));
        for entry in &deleted {
            self.draft.remove_metadata(self.id, entry.metadata_id)?;
        }
        Ok(json!({ "deleteDeveloperMetadata": { "deletedDeveloperMetadata": deleted } }))
    }

    /// Removes the entries of places that are gone.
    pub(super) fn remove_metadata_where(
        &mut self,
        gone: impl Fn(&Location) -> bool,
    ) -> Result<(), Refusal> {
        for entry in self.draft.metadata(self.id)? {
            if gone(&entry.location) {
                self.draft.remove_metadata(self.id, entry.metadata_id)?;
            }
        }
        Ok(())
    }

    fn put_metadata(&mut self, entry: &DeveloperMetadata) -> Result<(), Refusal> {
        self.check_location(&entry.location)?;
        self.draft.put_metadata(self.id, entry)?;
        check_sizes(&self.draft.metadata(self.id)?)
    }

    fn check_location(&self, location: &Location) -> Result<(), Refusal> {
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
            return Err(Refusal::invalid(
                "The location of developer metadata must be inside the grid",
            ));
        }
        Ok(())
    }
}

impl NewMetadata {
    /// Sets what the mask names; what must not be missing keeps its value.
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
