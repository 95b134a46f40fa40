//! A server that reads the body of a submission, responds with 202 and discards it: the cost of
//! HTTP alone.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::Bytes,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use tokio::net::TcpListener;

/// The path of submissions, which is that of the measured form.
pub const PATH: &str = "/v1/forms/student-data/submissions";

/// A response that is as long as ingest's, with a meaningless id.
const RESPONSE: &str = r#"{"id":"00000000-0000-7000-8000-000000000000","status":"accepted","received_at":"1970-01-01T00:00:00.000000Z"}"#;

/// Serves until the process ends.
///
/// # Errors
///
/// If the address cannot be bound.
pub async fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("failed to listen on {listen}"))?;
    let router = Router::new()
        .route(PATH, post(accept))
        .route("/readyz", get(StatusCode::OK));
    Ok(axum::serve(listener, router).await?)
}

/// Extracting the body as `Bytes` reads it completely.
async fn accept(_: Bytes) -> impl IntoResponse {
    (
        StatusCode::ACCEPTED,
        [(header::CONTENT_TYPE, "application/json")],
        RESPONSE,
    )
}
