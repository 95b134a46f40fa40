//! What is not the Sheets API: the token endpoint, what people do by hand, and the faults that tests plan.

use std::time::SystemTime;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::super::batch;
use super::super::fault::On;
use super::super::json;
use super::super::refusal::Refusal;
use super::super::store::Draft;
use super::super::token;
use super::input::{check_id, check_json, read_body};
use super::{Api, Shared};

pub(super) async fn grant_token(State(api): Shared, body: Body) -> Result<Response, Refusal> {
    let body = read_body(body).await?;
    let grant = move |api: &Api| token::grant(&api.store, &body, SystemTime::now());
    api.run(On::Token, grant).await
}

/// What a person does in the browser: the requests of a `batchUpdate`, without quota and planned faults.
pub(super) async fn change(
    State(api): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    check_id(&id)?;
    check_json(&headers)?;
    let body = read_body(body).await?;
    let tasks = api.tasks.clone();
    let work = move || {
        let body = json::read(&body)?;
        let apply = |draft: &mut Draft<'_>| batch::apply(draft, &id, &api.url(&id), body);
        api.store
            .write(apply)
            .map(|answer| Json(answer).into_response())
    };
    tasks.spawn_blocking(work).await?
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
