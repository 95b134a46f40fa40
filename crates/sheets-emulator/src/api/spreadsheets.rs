//! Endpoints of spreadsheets: `create`, `get` and `batchUpdate`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::input::{Parameters, check_id, check_json, read_body};
use super::state::{Api, Shared};
use crate::api_error::ApiError;
use crate::batch;
use crate::json;
use crate::mask::FieldMask;
use crate::metadata::Location;
use crate::sheet::SheetProperties;
use crate::spreadsheet::Spreadsheet;
use crate::store::Snapshot;

/// The body of `spreadsheets.create`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewSpreadsheet {
    properties: NewProperties,
    sheets: Vec<NewSheet>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewProperties {
    title: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSheet {
    properties: SheetProperties,
}

/// `spreadsheets.create`.
pub(super) async fn create(
    State(api): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_json(&headers)?;
    let body = read_body(body).await?;
    let work = move |api: &Api| {
        let new: NewSpreadsheet = json::parse(json::read(&body)?, "")?;
        let title = new
            .properties
            .title
            .unwrap_or_else(|| "Untitled spreadsheet".to_owned());
        let sheets = new
            .sheets
            .into_iter()
            .map(|sheet| sheet.properties)
            .collect();
        let spreadsheet = Spreadsheet::with_sheets(&title, sheets)?;
        let id = uuid::Uuid::now_v7().simple().to_string();
        api.store
            .write(|tx| tx.put_spreadsheet(&id, &spreadsheet))?;
        Ok(api.resource(&id, &spreadsheet))
    };
    api.write(&headers, work).await
}

/// `spreadsheets.get`.
pub(super) async fn show(
    State(api): Shared,
    Path(id): Path<String>,
    query: RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_id(&id)?;
    let parameters = Parameters::new(query);
    let fields = FieldMask::parse(parameters.get("fields").unwrap_or_default())?;
    if parameters.get("includeGridData") == Some("true") {
        return Err(ApiError::invalid(
            "The emulator does not return grid data; use spreadsheets.values.get instead",
        ));
    }
    let work = move |api: &Api, snapshot: &Snapshot| {
        let mut resource = api.resource(&id, &snapshot.spreadsheet(&id)?);
        add_metadata(&mut resource, snapshot, &id)?;
        if let Some(fields) = &fields {
            fields.filter(&mut resource);
        }
        Ok(Json(resource))
    };
    api.read(&headers, work).await
}

/// Adds the developer metadata of the spreadsheet and of each sheet to the resource.
fn add_metadata(resource: &mut Value, snapshot: &Snapshot, id: &str) -> Result<(), ApiError> {
    for entry in snapshot.metadata(id)? {
        let owner = match entry.location {
            Location::Spreadsheet => Some(&mut *resource),
            Location::Sheet(sheet) => {
                let mut sheets = resource["sheets"].as_array_mut().into_iter().flatten();
                sheets.find(|shown| shown["properties"]["sheetId"] == sheet)
            }
            // Google returns these only with the grid data.
            Location::Line { .. } => None,
        };
        let Some(owner) = owner else { continue };
        match owner["developerMetadata"].as_array_mut() {
            Some(entries) => entries.push(serde_json::json!(entry)),
            None => owner["developerMetadata"] = serde_json::json!([entry]),
        }
    }
    Ok(())
}

/// `spreadsheets.batchUpdate`.
pub(super) async fn batch_update(
    State(api): Shared,
    Path(id_and_verb): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let id = id_and_verb
        .strip_suffix(":batchUpdate")
        .ok_or_else(ApiError::not_found)?
        .to_owned();
    check_id(&id)?;
    check_json(&headers)?;
    let body = read_body(body).await?;
    let work = move |api: &Api| {
        let body = json::read(&body)?;
        api.store
            .write(|tx| batch::apply(tx, &id, &api.url(&id), body))
    };
    api.write(&headers, work).await
}
