//! Endpoints of values: read and write one range or several, and append to a table.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::input::{Parameters, check_id, check_json, read_body};
use super::state::{Api, Shared};
use crate::api_error::ApiError;
use crate::cell::InputOption;
use crate::json;
use crate::store::{Snapshot, Transaction};
use crate::table::{self, InsertOption};
use crate::values::{self, ValueRange, ValueRanges};

/// Maximum number of ranges in one read.
const MAX_RANGES: usize = 1_000;

/// `values.get`.
pub(super) async fn read_values(
    State(api): Shared,
    Path((id, range)): Path<(String, String)>,
    query: RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_id(&id)?;
    let options = Parameters::new(query).read_options()?;
    let work = move |_: &Api, snapshot: &Snapshot| {
        values::read(snapshot, &id, &snapshot.spreadsheet(&id)?, &range, options).map(Json)
    };
    api.read(&headers, work).await
}

/// `values.batchGet`.
pub(super) async fn read_many_values(
    State(api): Shared,
    Path(id): Path<String>,
    query: RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_id(&id)?;
    let parameters = Parameters::new(query);
    let options = parameters.read_options()?;
    let ranges: Vec<String> = parameters.all("ranges").map(str::to_owned).collect();
    if ranges.is_empty() || ranges.len() > MAX_RANGES {
        return Err(ApiError::invalid(format!(
            "Specify 1 to {MAX_RANGES} ranges"
        )));
    }
    let work = move |_: &Api, snapshot: &Snapshot| {
        let spreadsheet = snapshot.spreadsheet(&id)?;
        let read = |range: &String| values::read(snapshot, &id, &spreadsheet, range, options);
        let ranges = ranges.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Json(
            serde_json::json!({ "spreadsheetId": id, "valueRanges": ranges }),
        ))
    };
    api.read(&headers, work).await
}

/// `values.update`.
pub(super) async fn write_values(
    State(api): Shared,
    Path((id, range)): Path<(String, String)>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let input = input(&Parameters::new(query))?;
    let work = move |tx: &mut Transaction<'_>, id: &str, body: &ValueRange| {
        values::check_range(&range, body)?;
        values::write(tx, id, &range, body, input)
    };
    write(api, id, &headers, body, work).await
}

/// `values.append`. The last segment of the path is the range, followed by `:append`.
pub(super) async fn append_values(
    State(api): Shared,
    Path((id, part)): Path<(String, String)>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let range = part.strip_suffix(":append");
    let range = range.ok_or_else(ApiError::not_found)?.to_owned();
    let parameters = Parameters::new(query);
    let insert: Option<InsertOption> = parameters.choice("insertDataOption")?;
    let options = (input(&parameters)?, insert.unwrap_or_default());
    let work = move |tx: &mut Transaction<'_>, id: &str, body: &ValueRange| {
        values::check_range(&range, body)?;
        table::append(tx, id, &range, body, options)
    };
    write(api, id, &headers, body, work).await
}

/// `values.batchUpdate`.
pub(super) async fn write_many_values(
    State(api): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let work =
        |tx: &mut Transaction<'_>, id: &str, body: &ValueRanges| values::write_many(tx, id, body);
    write(api, id, &headers, body, work).await
}

fn input(parameters: &Parameters) -> Result<InputOption, ApiError> {
    let input = parameters.choice("valueInputOption")?;
    input.ok_or_else(InputOption::missing)
}

/// Parses the body and applies it in one transaction.
async fn write<B: DeserializeOwned>(
    api: Arc<Api>,
    id: String,
    headers: &HeaderMap,
    body: Body,
    work: impl Fn(&mut Transaction<'_>, &str, &B) -> Result<Value, ApiError> + Send + Sync + 'static,
) -> Result<Response, ApiError> {
    check_id(&id)?;
    check_json(headers)?;
    let body = read_body(body).await?;
    let write = move |api: &Api| {
        let body: B = json::parse(json::read(&body)?, "data")?;
        api.store.write(|tx| work(tx, &id, &body))
    };
    api.write(headers, write).await
}
