//! Developer metadata: search and show.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::super::json;
use super::super::metadata::DataFilter;
use super::super::refusal::Refusal;
use super::super::store::Snapshot;
use super::input::{check_id, read_body};
use super::{Api, Shared};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Search {
    data_filters: Vec<DataFilter>,
}

pub(super) async fn search_metadata(
    State(api): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    check_id(&id)?;
    let body = read_body(body).await?;
    let work = move |_: &Api, snapshot: &Snapshot| {
        let search: Search = json::parse(json::read(&body)?, "")?;
        let mut matched = Vec::new();
        for entry in snapshot.metadata(&id)? {
            let finds = |filter: &&DataFilter| filter.developer_metadata_lookup.matches(&entry);
            let filters: Vec<&DataFilter> = search.data_filters.iter().filter(finds).collect();
            if !filters.is_empty() {
                matched.push(
                    serde_json::json!({ "developerMetadata": entry, "dataFilters": filters }),
                );
            }
        }
        // An empty list is left out, as everywhere in Google's JSON.
        let found = !matched.is_empty();
        Ok(Json(if found {
            serde_json::json!({ "matchedDeveloperMetadata": matched })
        } else {
            serde_json::json!({})
        }))
    };
    api.read(&headers, work).await
}

pub(super) async fn show_metadata(
    State(api): Shared,
    Path((id, metadata)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    check_id(&id)?;
    let metadata: i32 = metadata
        .parse()
        .map_err(|_| Refusal::invalid(format!("Invalid value at 'metadata_id': \"{metadata}\"")))?;
    let work = move |_: &Api, snapshot: &Snapshot| {
        let mut entries = snapshot.metadata(&id)?.into_iter();
        entries
            .find(|entry| entry.metadata_id == metadata)
            .map(Json)
            .ok_or_else(Refusal::not_found)
    };
    api.read(&headers, work).await
}
