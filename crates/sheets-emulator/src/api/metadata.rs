//! Endpoints of developer metadata.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::input::{check_id, read_body};
use super::state::{Api, Shared};
use crate::api_error::ApiError;
use crate::json;
use crate::metadata::DataFilter;
use crate::store::Snapshot;

/// The body of `developerMetadata.search`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Search {
    data_filters: Vec<DataFilter>,
}

/// `developerMetadata.search`.
pub(super) async fn search_metadata(
    State(api): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_id(&id)?;
    let body = read_body(body).await?;
    let work = move |_: &Api, snapshot: &Snapshot| {
        let search: Search = json::parse(json::read(&body)?, "")?;
        let mut matched = Vec::new();
        for entry in snapshot.metadata(&id)? {
            let matches = |filter: &&DataFilter| filter.developer_metadata_lookup.matches(&entry);
            let filters: Vec<&DataFilter> = search.data_filters.iter().filter(matches).collect();
            if !filters.is_empty() {
                matched.push(
                    serde_json::json!({ "developerMetadata": entry, "dataFilters": filters }),
                );
            }
        }
        // Google's JSON omits empty lists.
        Ok(Json(if matched.is_empty() {
            serde_json::json!({})
        } else {
            serde_json::json!({ "matchedDeveloperMetadata": matched })
        }))
    };
    api.read(&headers, work).await
}

/// `developerMetadata.get`.
pub(super) async fn show_metadata(
    State(api): Shared,
    Path((id, metadata)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_id(&id)?;
    let metadata: i32 = metadata.parse().map_err(|_| {
        ApiError::invalid(format!("Invalid value at 'metadata_id': \"{metadata}\""))
    })?;
    let work = move |_: &Api, snapshot: &Snapshot| {
        let mut entries = snapshot.metadata(&id)?.into_iter();
        entries
            .find(|entry| entry.metadata_id == metadata)
            .map(Json)
            .ok_or_else(ApiError::not_found)
    };
    api.read(&headers, work).await
}
