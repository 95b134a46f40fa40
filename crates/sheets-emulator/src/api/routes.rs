//! The routes of the API, the token endpoint and the admin endpoints.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::state::Api;
use super::{admin, metadata, spreadsheets, values};

/// The routes of everything except the pages.
pub(crate) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v4/spreadsheets", post(spreadsheets::create))
        // The router matches whole path segments, so the handler splits `{id}:batchUpdate`.
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
