//! Values: one range or several, read and written, and values below a table.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::super::cell::Input;
use super::super::json;
use super::super::refusal::Refusal;
use super::super::store::Snapshot;
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
    check_id(&id)?;
    check_json(&headers)?;
    let input: Option<Input> = Parameters::new(query).choice("valueInputOption")?;
    let input = input.ok_or_else(Input::missing)?;
    let body = read_body(body).await?;
    let work = move |api: &Api| {
        let body: ValueRange = json::parse(json::read(&body)?, "data")?;
        values::check_range(&range, &body)?;
        api.store
            .write(|draft| values::write(draft, &id, &range, &body, input))
    };
    api.write(&headers, work).await
}

/// The last part of the path is the range and `:append`.
pub(super) async fn append_values(
    State(api): Shared,
    Path((id, part)): Path<(String, String)>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    check_id(&id)?;
    check_json(&headers)?;
    let range = part
        .strip_suffix(":append")
        .ok_or_else(Refusal::not_found)?;
    let range = range.to_owned();
    let parameters = Parameters::new(query);
    let input: Option<Input> = parameters.choice("valueInputOption")?;
    let insert: Option<Insert> = parameters.choice("insertDataOption")?;
    let how = (
        input.ok_or_else(Input::missing)?,
        insert.unwrap_or_default(),
    );
    let body = read_body(body).await?;
    let work = move |api: &Api| {
        let body: ValueRange = json::parse(json::read(&body)?, "data")?;
        values::check_range(&range, &body)?;
        api.store
            .write(|draft| table::append(draft, &id, &range, &body, how))
    };
    api.write(&headers, work).await
}

pub(super) async fn write_many_values(
    State(api): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    check_id(&id)?;
    check_json(&headers)?;
    let body = read_body(body).await?;
    let work = move |api: &Api| {
        let body: ValueRanges = json::parse(json::read(&body)?, "data")?;
        api.store
            .write(|draft| values::write_many(draft, &id, &body))
    };
    api.write(&headers, work).await
}
