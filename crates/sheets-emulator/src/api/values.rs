//! Values: one range or several, read and written, and values below a table.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::cell::Input;
use super::super::json;
use super::super::refusal::Refusal;
use super::super::store::{Draft, Snapshot};
use super::super::table::{self, Insert};
use super::super::values::{self, ValueRange, ValueRanges};
use super::input::{Parameters, check_id, check_json, read_body};
use super::{Api, Shared};

const MAX_RANGES: usize = 1_000;

pub(super) async fn read_values(
    State(api): Shared,
    Path((id, range)): Path<(String, String)>,
    query: RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    check_id(&id)?;
    let options = Parameters::new(query).read_options()?;
    let work = move |_: &Api, snapshot: &Snapshot| {
        values::read(snapshot, &id, &snapshot.spreadsheet(&id)?, &range, options).map(Json)
    };
    api.read(&headers, work).await
}

pub(super) async fn read_many_values(
    State(api): Shared,
    Path(id): Path<String>,
    query: RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    check_id(&id)?;
    let parameters = Parameters::new(query);
    let options = parameters.read_options()?;
    let ranges: Vec<String> = parameters.all("ranges").map(str::to_owned).collect();
    if ranges.is_empty() || ranges.len() > MAX_RANGES {
        return Err(Refusal::invalid(format!(
            "1 to {MAX_RANGES} ranges must be given"
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

pub(super) async fn write_values(
    State(api): Shared,
    Path((id, range)): Path<(String, String)>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let input = input(&Parameters::new(query))?;
    let work = move |draft: &mut Draft<'_>, id: &str, body: &ValueRange| {
        values::check_range(&range, body)?;
        values::write(draft, id, &range, body, input)
    };
    write(api, id, &headers, body, work).await
}

/// The last part of the path is the range and `:append`.
pub(super) async fn append_values(
    State(api): Shared,
    Path((id, part)): Path<(String, String)>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let range = part.strip_suffix(":append");
    let range = range.ok_or_else(Refusal::not_found)?.to_owned();
    let parameters = Parameters::new(query);
    let insert: Option<Insert> = parameters.choice("insertDataOption")?;
    let how = (input(&parameters)?, insert.unwrap_or_default());
    let work = move |draft: &mut Draft<'_>, id: &str, body: &ValueRange| {
        values::check_range(&range, body)?;
        table::append(draft, id, &range, body, how)
    };
    write(api, id, &headers, body, work).await
}

pub(super) async fn write_many_values(
    State(api): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let work =
        |draft: &mut Draft<'_>, id: &str, body: &ValueRanges| values::write_many(draft, id, body);
    write(api, id, &headers, body, work).await
}

fn input(parameters: &Parameters) -> Result<Input, Refusal> {
    let input = parameters.choice("valueInputOption")?;
    input.ok_or_else(Input::missing)
}

/// Writes what a body of this form says, all of it or nothing.
async fn write<B: DeserializeOwned>(
    api: Arc<Api>,
    id: String,
    headers: &HeaderMap,
    body: Body,
    work: impl Fn(&mut Draft<'_>, &str, &B) -> Result<Value, Refusal> + Send + Sync + 'static,
) -> Result<Response, Refusal> {
    check_id(&id)?;
    check_json(headers)?;
    let body = read_body(body).await?;
    let write = move |api: &Api| {
        let body: B = json::parse(json::read(&body)?, "data")?;
        api.store.write(|draft| work(draft, &id, &body))
    };
    api.write(headers, write).await
}
