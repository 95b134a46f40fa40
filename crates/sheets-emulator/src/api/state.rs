//! The state that all requests share, and how a request runs: it is authorized, counted, and
//! executed on a blocking thread.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api_error::ApiError;
use crate::fault::{Faults, RequestKind};
use crate::quota::{Access, QuotaCounter};
use crate::spreadsheet::Spreadsheet;
use crate::store::{Snapshot, Store};
use crate::token;

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) quota: QuotaCounter,
    pub(crate) faults: Faults,
    /// Runs all requests, so that a request completes even if its client disconnects, as with
    /// Google.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when the emulator stops; ends planned faults.
    pub(crate) stop: CancellationToken,
    /// The origin of the pages, for instance `http://127.0.0.1:8082`.
    pub(crate) origin: String,
}

/// The shared state as an extractor.
pub(super) type Shared = State<Arc<Api>>;

// === impl Api ===

impl Api {
    /// Runs a read request against a snapshot.
    pub(super) async fn read<T: IntoResponse>(
        self: Arc<Self>,
        headers: &HeaderMap,
        work: impl Fn(&Self, &Snapshot) -> Result<T, ApiError> + Send + Sync + 'static,
    ) -> Result<Response, ApiError> {
        self.admit(headers, Access::Read)?;
        let work = move |api: &Self| Ok(work(api, &api.store.read()?)?.into_response());
        self.run(RequestKind::Read, work).await
    }

    /// Runs a write request.
    pub(super) async fn write(
        self: Arc<Self>,
        headers: &HeaderMap,
        work: impl Fn(&Self) -> Result<Value, ApiError> + Send + Sync + 'static,
    ) -> Result<Response, ApiError> {
        self.admit(headers, Access::Write)?;
        let work = move |api: &Self| work(api).map(|body| Json(body).into_response());
        self.run(RequestKind::Write, work).await
    }

    /// Authenticates the user of a request and counts the request against the user's quota.
    fn admit(&self, headers: &HeaderMap, access: Access) -> Result<(), ApiError> {
        let user = token::user(&self.store, headers, SystemTime::now())?;
        self.quota.take(&user, access, Instant::now())
    }

    /// Runs a request, with the next fault that is planned for its kind.
    pub(super) async fn run(
        self: Arc<Self>,
        kind: RequestKind,
        work: impl Fn(&Self) -> Result<Response, ApiError> + Send + Sync + 'static,
    ) -> Result<Response, ApiError> {
        let (fault, api, work) = (self.faults.take(kind), Arc::clone(&self), Arc::new(work));
        let apply = move || {
            let (api, work) = (Arc::clone(&api), Arc::clone(&work));
            async move {
                let tasks = api.tasks.clone();
                let result = tasks.spawn_blocking(move || work(&api)).await;
                result.map_err(ApiError::from).flatten().into_response()
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

    /// The URL of a spreadsheet's page.
    pub(super) fn url(&self, id: &str) -> String {
        format!("{}/spreadsheets/{id}", self.origin)
    }

    /// The `Spreadsheet` resource of the API.
    pub(super) fn resource(&self, id: &str, spreadsheet: &Spreadsheet) -> Value {
        spreadsheet.resource(id, &self.url(id))
    }
}
