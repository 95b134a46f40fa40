//! Endpoints outside of the Sheets API: the token endpoint, manual edits, and the faults that tests
//! plan.

use std::time::SystemTime;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::input::{check_id, check_json, read_body};
use super::state::{Api, Shared};
use crate::api_error::ApiError;
use crate::batch;
use crate::fault::RequestKind;
use crate::json;
use crate::store::Transaction;
use crate::token;

/// `POST /token`.
pub(super) async fn grant_token(State(api): Shared, body: Body) -> Result<Response, ApiError> {
    let body = read_body(body).await?;
    let grant = move |api: &Api| token::grant(&api.store, &body, SystemTime::now());
    api.run(RequestKind::Token, grant).await
}

/// Applies the requests of a `batchUpdate` like a manual edit in the browser: no quota counts, and
/// no planned fault applies.
pub(super) async fn change(
    State(api): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_id(&id)?;
    check_json(&headers)?;
    let body = read_body(body).await?;
    let tasks = api.tasks.clone();
    let work = move || {
        let body = json::read(&body)?;
        let apply = |tx: &mut Transaction<'_>| batch::apply(tx, &id, &api.url(&id), body);
        api.store
            .write(apply)
            .map(|body| Json(body).into_response())
    };
    tasks.spawn_blocking(work).await?
}

/// Lists the planned faults.
pub(super) async fn show_faults(State(api): Shared) -> Response {
    Json(api.faults.planned()).into_response()
}

/// Adds planned faults.
pub(super) async fn plan_faults(
    State(api): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_json(&headers)?;
    let faults = json::parse(json::read(&read_body(body).await?)?, "faults")?;
    api.faults.plan(faults)?;
    Ok(show_faults(State(api)).await)
}

/// Removes all planned faults.
pub(super) async fn clear_faults(State(api): Shared) -> Response {
    api.faults.clear();
    show_faults(State(api)).await
}
