//! The HTTP side of the API: reads a request, counts it, runs it against the store, answers. What a
//! request means is decided below, in `batch`, `values` and their like.

mod admin;
mod input;
mod metadata;
mod spreadsheets;
mod values;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fault::{Faults, On};
use super::quota::{Access, Budget};
use super::refusal::Refusal;
use super::spreadsheet::Spreadsheet;
use super::store::{Snapshot, Store};
use super::token;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) store: Store,
    pub(super) budget: Budget,
    pub(super) faults: Faults,
    /// Writes run here, so that a client that goes away does not undo what Google would have done.
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Where the pages are, as `http://127.0.0.1:8082`.
    pub(super) origin: String,
}

type Shared = State<Arc<Api>>;

/// The routes of the API, the token endpoint and the faults.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v4/spreadsheets", post(spreadsheets::create))
        // A path segment is matched whole: `{id}:batchUpdate` is split by the handler.
        .route(
            "/v4/spreadsheets/{id}",
            get(spreadsheets::show).post(spreadsheets::batch_update),
        )
        .route(
            "/v4/spreadsheets/{id}/values/{range}",
            get(values::read_values)
                .put(values::write_values)
                .post(values::append_values),
        )
        .route(
            "/v4/spreadsheets/{id}/values:batchUpdate",
            post(values::write_many_values),
        )
        .route(
            "/v4/spreadsheets/{id}/values:batchGet",
            get(values::read_many_values),
        )
        .route(
            "/v4/spreadsheets/{id}/developerMetadata:search",
            post(metadata::search_metadata),
        )
        .route(
            "/v4/spreadsheets/{id}/developerMetadata/{metadata}",
            get(metadata::show_metadata),
        )
        .route("/token", post(admin::grant_token))
        .route("/admin/spreadsheets/{id}", post(admin::change))
        .route(
            "/admin/faults",
            get(admin::show_faults)
                .post(admin::plan_faults)
                .delete(admin::clear_faults),
        )
}

// === impl Api ===

impl Api {
    /// Runs a read request against a snapshot.
    async fn read<T: IntoResponse>(
        self: Arc<Self>,
        headers: &HeaderMap,
        work: impl Fn(&Self, &Snapshot) -> Result<T, Refusal> + Send + Sync + 'static,
    ) -> Result<Response, Refusal> {
        self.admit(headers, Access::Read)?;
        let work = move |api: &Self| Ok(work(api, &api.store.read()?)?.into_response());
        self.run(On::Read, work).await
    }

    /// Runs a write request.
    async fn write(
        self: Arc<Self>,
        headers: &HeaderMap,
        work: impl Fn(&Self) -> Result<Value, Refusal> + Send + Sync + 'static,
    ) -> Result<Response, Refusal> {
        self.admit(headers, Access::Write)?;
        let work = move |api: &Self| work(api).map(|answer| Json(answer).into_response());
        self.run(On::Write, work).await
    }

    /// Counts a request of a user who may ask.
    fn admit(&self, headers: &HeaderMap, access: Access) -> Result<(), Refusal> {
        let user = token::user(&self.store, headers, SystemTime::now())?;
        self.budget.take(&user, access, Instant::now())
    }

    /// Runs a request, with the fault that is planned for its kind.
    async fn run(
        self: Arc<Self>,
        on: On,
        work: impl Fn(&Self) -> Result<Response, Refusal> + Send + Sync + 'static,
    ) -> Result<Response, Refusal> {
        let (fault, api, work) = (self.faults.take(on), Arc::clone(&self), Arc::new(work));
        let apply = move || {
            let (api, work) = (Arc::clone(&api), Arc::clone(&work));
            async move {
                let tasks = api.tasks.clone();
                let done = tasks.spawn_blocking(move || work(&api)).await;
                done.map_err(Refusal::from).flatten().into_response()
            }
        };
        let stop = self.stop.clone();
        let task = async move {
            match fault {
                Some(fault) => fault.run(stop, apply).await,
                None => apply().await,
            }
        };
        Ok(self.tasks.spawn(task).await?)
    }

    /// The page of a spreadsheet.
    fn url(&self, id: &str) -> String {
        format!("{}/spreadsheets/{id}", self.origin)
    }

    fn resource(&self, id: &str, spreadsheet: &Spreadsheet) -> Value {
        spreadsheet.resource(id, &self.url(id))
    }
}
