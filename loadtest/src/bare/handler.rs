//! A server that reads the body of a submission, answers 202, and forgets it: what HTTP alone costs.

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

/// The path that it takes submissions at, the same as that of the form it stands beside.
pub const PATH: &str = "/v1/forms/student-data/submissions";

/// As long as ingest's answer, with an id that means nothing.
const ANSWER: &str = r#"{"id":"00000000-0000-7000-8000-000000000000","status":"accepted","received_at":"1970-01-01T00:00:00.000000Z"}"#;

/// Serves until the process ends.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let router = Router::new()
        .route(PATH, post(accept))
        .route("/readyz", get(StatusCode::OK));
    Ok(axum::serve(listener, router).await?)
}

/// Taking the body as `Bytes` reads it to its end.
async fn accept(_: Bytes) -> impl IntoResponse {
    (
        StatusCode::ACCEPTED,
        [(header::CONTENT_TYPE, "application/json")],
        ANSWER,
    )
}
