//! Spreadsheets as a whole: create, show, and `batchUpdate`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::super::batch;
use super::super::json;
use super::super::mask::FieldMask;
use super::super::metadata::Location;
use super::super::refusal::Refusal;
use super::super::sheet::SheetProperties;
use super::super::spreadsheet::Spreadsheet;
use super::super::store::Snapshot;
use super::input::{Parameters, check_id, check_json, read_body};
use super::{Api, Shared};

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

pub(super) async fn create(
    State(api): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
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
            .write(|draft| draft.put_spreadsheet(&id, &spreadsheet))?;
        Ok(api.resource(&id, &spreadsheet))
    };
    api.write(&headers, work).await
}

pub(super) async fn show(
    State(api): Shared,
    Path(id): Path<String>,
    query: RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    check_id(&id)?;
    let parameters = Parameters::new(query);
    let fields = FieldMask::parse(parameters.get("fields").unwrap_or_default())?;
    if parameters.get("includeGridData") == Some("true") {
        return Err(Refusal::invalid(
            "The emulator does not return grid data: read it as values",
        ));
    }
    let work = move |api: &Api, snapshot: &Snapshot| {
        let mut resource = api.resource(&id, &snapshot.spreadsheet(&id)?);
        show_metadata_in(&mut resource, snapshot, &id)?;
        if let Some(fields) = &fields {
            fields.filter(&mut resource);
        }
        Ok(Json(resource))
    };
    api.read(&headers, work).await
}

/// Adds the developer metadata of the spreadsheet and of each sheet where Google has it.
fn show_metadata_in(resource: &mut Value, snapshot: &Snapshot, id: &str) -> Result<(), Refusal> {
    for entry in snapshot.metadata(id)? {
        let holder = match entry.location {
            Location::Spreadsheet => Some(&mut *resource),
            Location::Sheet(sheet) => {
                let mut sheets = resource["sheets"].as_array_mut().into_iter().flatten();
                sheets.find(|shown| shown["properties"]["sheetId"] == sheet)
            }
            // Google shows these with the grid data only.
            Location::Line { .. } => None,
        };
        let Some(holder) = holder else { continue };
        match holder["developerMetadata"].as_array_mut() {
            Some(entries) => entries.push(serde_json::json!(entry)),
            None => holder["developerMetadata"] = serde_json::json!([entry]),
        }
    }
    Ok(())
}

pub(super) async fn batch_update(
    State(api): Shared,
    Path(id_and_verb): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let id = id_and_verb
        .strip_suffix(":batchUpdate")
        .ok_or_else(Refusal::not_found)?
        .to_owned();
    check_id(&id)?;
    check_json(&headers)?;
    let body = read_body(body).await?;
    let work = move |api: &Api| {
        let body = json::read(&body)?;
        api.store
            .write(|draft| batch::apply(draft, &id, &api.url(&id), body))
    };
    api.write(&headers, work).await
}
