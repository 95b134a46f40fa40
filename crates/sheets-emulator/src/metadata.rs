//! Developer metadata: keys and values that are attached to a spreadsheet, a sheet, a row or a
//! column, and that are found by lookup. The client may choose an id, which is unique in the
//! spreadsheet; the sheets sink relies on it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::api_error::ApiError;
use crate::dimension::{Dimension, DimensionRange};

/// Maximum number of characters of all keys and values on a spreadsheet, and on each of its sheets.
/// Google has the same limit (guide "Read and write metadata", storage limits).
pub(crate) const MAX_CHARACTERS: usize = 30_000;

/// An entry as it is stored and returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DeveloperMetadata {
    pub(crate) metadata_id: i32,
    pub(crate) metadata_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata_value: Option<String>,
    pub(crate) location: Location,
    pub(crate) visibility: Visibility,
}

/// An entry in a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct NewMetadata {
    pub(crate) metadata_id: Option<i32>,
    pub(crate) metadata_key: Option<String>,
    pub(crate) metadata_value: Option<String>,
    pub(crate) location: Option<Location>,
    pub(crate) visibility: Option<Visibility>,
}

/// Who sees an entry. All clients of the emulator belong to the same project, so they see both
/// kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Visibility {
    Document,
    Project,
}

/// The location of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WireLocation", into = "WireLocation")]
pub(crate) enum Location {
    Spreadsheet,
    Sheet(i32),
    /// One row or column of a sheet.
    Line {
        sheet: i32,
        dimension: Dimension,
        index: u32,
    },
}

/// `DeveloperMetadataLocation` of the API.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WireLocation {
    #[serde(skip_serializing_if = "Option::is_none")]
    location_type: Option<LocationType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spreadsheet: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sheet_id: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimension_range: Option<DimensionRange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum LocationType {
    Spreadsheet,
    Sheet,
    Row,
    Column,
}

/// The conditions of a filter; a missing condition matches every entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Lookup {
    #[serde(skip_serializing_if = "Option::is_none")]
    location_type: Option<LocationType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_location: Option<Location>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location_matching_strategy: Option<MatchingStrategy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_id: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<Visibility>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum MatchingStrategy {
    #[serde(rename = "EXACT_LOCATION")]
    Exact,
    #[serde(rename = "INTERSECTING_LOCATION")]
    Intersecting,
}

/// `DataFilter` of the API, only with a lookup of metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DataFilter {
    pub(crate) developer_metadata_lookup: Lookup,
}

// === impl DeveloperMetadata ===

impl DeveloperMetadata {
    /// The number of characters that count against the limit.
    pub(crate) fn characters(&self) -> usize {
        let value = self.metadata_value.as_deref().unwrap_or_default();
        self.metadata_key.chars().count() + value.chars().count()
    }

    /// Creates an entry from a request; `fallback` is the id if the request has none.
    pub(crate) fn create(new: NewMetadata, fallback: i32) -> Result<Self, ApiError> {
        let required =
            |name: &str| ApiError::invalid(format!("Developer metadata must have a {name}."));
        let metadata_id = new.metadata_id.unwrap_or(fallback);
        if metadata_id <= 0 {
            return Err(ApiError::invalid("The metadata ID must be positive."));
        }
        Ok(Self {
            metadata_id,
            metadata_key: new
                .metadata_key
                .filter(|key| !key.is_empty())
                .ok_or_else(|| required("key"))?,
            metadata_value: new.metadata_value,
            location: new.location.ok_or_else(|| required("location"))?,
            visibility: new.visibility.ok_or_else(|| required("visibility"))?,
        })
    }
}

/// Checks the total size of the entries at each location.
pub(crate) fn check_sizes<'m>(
    entries: impl IntoIterator<Item = &'m DeveloperMetadata>,
) -> Result<(), ApiError> {
    let mut sizes: HashMap<Option<i32>, usize> = HashMap::new();
    for entry in entries {
        let size = sizes.entry(entry.location.sheet()).or_default();
        *size += entry.characters();
        if *size > MAX_CHARACTERS {
            return Err(ApiError::invalid(format!(
                "The developer metadata of a spreadsheet or sheet may have at most {MAX_CHARACTERS} characters"
            )));
        }
    }
    Ok(())
}

// === impl Location ===

impl Location {
    /// The sheet of the location; `None` for the spreadsheet itself.
    pub(crate) fn sheet(&self) -> Option<i32> {
        match self {
            Self::Spreadsheet => None,
            Self::Sheet(sheet) | Self::Line { sheet, .. } => Some(*sheet),
        }
    }

    fn kind(&self) -> LocationType {
        match self {
            Self::Spreadsheet => LocationType::Spreadsheet,
            Self::Sheet(_) => LocationType::Sheet,
            Self::Line {
                dimension: Dimension::Rows,
                ..
            } => LocationType::Row,
            Self::Line {
                dimension: Dimension::Columns,
                ..
            } => LocationType::Column,
        }
    }

    /// Two locations on the same sheet intersect, unless they are different lines of the same
    /// dimension. The spreadsheet intersects no other location (reference of
    /// `DeveloperMetadataLookup.locationType`).
    fn intersects(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Line { dimension: a, .. }, Self::Line { dimension: b, .. }) if a == b => {
                self == other
            }
            _ => self.sheet() == other.sheet(),
        }
    }
}

impl TryFrom<WireLocation> for Location {
    type Error = &'static str;

    fn try_from(wire: WireLocation) -> Result<Self, Self::Error> {
        match (wire.spreadsheet, wire.sheet_id, wire.dimension_range) {
            (Some(true), None, None) => Ok(Self::Spreadsheet),
            (None | Some(false), Some(sheet), None) => Ok(Self::Sheet(sheet)),
            (None | Some(false), None, Some(range)) => {
                if range.start_index.checked_add(1) != Some(range.end_index) {
                    return Err("a dimensionRange must be a single row or column");
                }
                let DimensionRange {
                    sheet_id: sheet,
                    dimension,
                    start_index: index,
                    ..
                } = range;
                Ok(Self::Line {
                    sheet,
                    dimension,
                    index,
                })
            }
            _ => Err("a location is one of spreadsheet, sheetId and dimensionRange"),
        }
    }
}

impl From<Location> for WireLocation {
    fn from(location: Location) -> Self {
        let wire = Self {
            location_type: Some(location.kind()),
            ..Self::default()
        };
        match location {
            Location::Spreadsheet => Self {
                spreadsheet: Some(true),
                ..wire
            },
            Location::Sheet(sheet) => Self {
                sheet_id: Some(sheet),
                ..wire
            },
            Location::Line {
                sheet: sheet_id,
                dimension,
                index: start_index,
            } => {
                let end_index = start_index + 1;
                let range = DimensionRange {
                    sheet_id,
                    dimension,
                    start_index,
                    end_index,
                };
                Self {
                    dimension_range: Some(range),
                    ..wire
                }
            }
        }
    }
}

// === impl Lookup ===

impl Lookup {
    /// Whether the entry meets all conditions.
    pub(crate) fn matches(&self, entry: &DeveloperMetadata) -> bool {
        fn same<T: PartialEq>(wanted: Option<&T>, value: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == value)
        }
        same(self.metadata_id.as_ref(), &entry.metadata_id)
            && same(self.metadata_key.as_ref(), &entry.metadata_key)
            && self
                .metadata_value
                .as_ref()
                .is_none_or(|value| entry.metadata_value.as_ref() == Some(value))
            && same(self.visibility.as_ref(), &entry.visibility)
            && same(self.location_type.as_ref(), &entry.location.kind())
            && self
                .metadata_location
                .is_none_or(|wanted| self.matches_location(&wanted, &entry.location))
    }

    fn matches_location(&self, wanted: &Location, location: &Location) -> bool {
        match self.location_matching_strategy {
            Some(MatchingStrategy::Exact) => wanted == location,
            // The reference documents this default.
            Some(MatchingStrategy::Intersecting) | None => wanted.intersects(location),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn entry(location: &Value) -> DeveloperMetadata {
        from_value(json!({
            "metadataId": 7, "metadataKey": "checkpoint", "metadataValue": "v",
            "location": location, "visibility": "DOCUMENT",
        }))
        .unwrap()
    }

    fn found(lookup: Value, entry: &DeveloperMetadata) -> bool {
        from_value::<Lookup>(lookup).unwrap().matches(entry)
    }

    #[test]
    fn a_lookup_matches_all_its_conditions() {
        let on_sheet = entry(&json!({ "sheetId": 0 }));
        assert!(found(json!({}), &on_sheet));
        assert!(found(
            json!({ "metadataId": 7, "metadataKey": "checkpoint", "metadataValue": "v" }),
            &on_sheet
        ));
        assert!(found(
            json!({ "visibility": "DOCUMENT", "locationType": "SHEET" }),
            &on_sheet
        ));
        assert!(!found(json!({ "metadataId": 8 }), &on_sheet));
        assert!(!found(json!({ "metadataValue": "w" }), &on_sheet));
        assert!(!found(json!({ "locationType": "ROW" }), &on_sheet));
    }

    #[test]
    fn lines_intersect_their_sheet_and_crossing_lines() {
        let line = |dimension, index| json!({ "dimensionRange": { "sheetId": 4, "dimension": dimension, "startIndex": index, "endIndex": index + 1 } });
        let row = entry(&line("ROWS", 2));
        assert!(found(json!({ "metadataLocation": { "sheetId": 4 } }), &row));
        assert!(found(
            json!({ "metadataLocation": line("COLUMNS", 9) }),
            &row
        ));
        assert!(!found(json!({ "metadataLocation": line("ROWS", 3) }), &row));
        assert!(!found(
            json!({ "metadataLocation": { "spreadsheet": true } }),
            &row
        ));
        let exact = json!({ "metadataLocation": { "sheetId": 4 }, "locationMatchingStrategy": "EXACT_LOCATION" });
        assert!(!found(exact, &row));
    }

    #[test]
    fn a_location_has_exactly_one_kind() {
        let two_rows =
            json!({ "dimensionRange": { "dimension": "ROWS", "startIndex": 0, "endIndex": 2 } });
        for bad in [
            json!({}),
            json!({ "spreadsheet": true, "sheetId": 1 }),
            two_rows,
        ] {
            assert!(from_value::<Location>(bad.clone()).is_err(), "{bad}");
        }
    }
}
