//! What is not the Sheets API: the token endpoint, and the faults that tests plan.

use std::time::SystemTime;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::super::json;
use super::super::refusal::Refusal;
use super::super::token;
use super::Shared;
use super::input::{check_json, read_body};

pub(super) async fn grant_token(State(api): Shared, body: Body) -> Result<Response, Refusal> {
    let body = read_body(body).await?;
    let tasks = api.tasks.clone();
    tasks
        .spawn_blocking(move || token::grant(&api.store, &body, SystemTime::now()))
        .await?
}

pub(super) async fn show_faults(State(api): Shared) -> Response {
    Json(api.faults.planned()).into_response()
}

pub(super) async fn plan_faults(
    State(api): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    check_json(&headers)?;
    let faults = json::parse(json::read(&read_body(body).await?)?, "faults")?;
    api.faults.plan(faults)?;
    Ok(show_faults(State(api)).await)
}

pub(super) async fn clear_faults(State(api): Shared) -> Response {
    api.faults.clear();
    show_faults(State(api)).await
}
