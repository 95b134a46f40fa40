//! The admin listener: `/livez`, `/readyz`, `/metrics` and the status pages.

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus::{Encoder as _, TextEncoder};
use tokio::net::TcpListener;

use super::registry::Telemetry;

// === impl Telemetry ===

impl Telemetry {
    /// Serves `/livez`, `/readyz`, `/metrics` and the published pages until the future is dropped.
    ///
    /// It has no graceful shutdown: a stopping process can be observed to the end, and an idle
    /// client does not delay it.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        let routes = Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/{name}", get(page))
            .with_state(self);
        axum::serve(listener, routes).await
    }
}

/// Returns 200 if the process is ready, otherwise 503. The body has one line for each component.
async fn readyz(State(telemetry): State<Telemetry>) -> impl IntoResponse {
    let status = if telemetry.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, telemetry.health_report())
}

/// Returns a published page, or 404 if there is none with this name.
async fn page(State(telemetry): State<Telemetry>, Path(name): Path<String>) -> impl IntoResponse {
    match telemetry.page(&name) {
        Some(page) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (json, page).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn metrics(State(telemetry): State<Telemetry>) -> impl IntoResponse {
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    match encoder.encode(&telemetry.gather(), &mut text) {
        Ok(()) => (
            [(header::CONTENT_TYPE, encoder.format_type().to_owned())],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
