//! Reads and validates the parts of a request: path, content type, body and query. Each has a
//! limit.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::RawQuery;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::api_error::ApiError;
use crate::cell::RenderOption;
use crate::dimension::Dimension;
use crate::values::ReadOptions;

/// Maximum size of a request body; a larger one gets 413. Google has no hard limit and recommends 2
/// MB.
const MAX_BODY_BYTES: usize = 16 << 20;
/// Time for a client to send its body; then it gets 408.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The query parameters of a request. Those that the emulator does not use, such as `alt`, are
/// ignored.
pub(super) struct Parameters(Vec<(String, String)>);

/// Checks that the id has the form of a spreadsheet id. Any other id gets 404, even on a write.
pub(super) fn check_id(id: &str) -> Result<(), ApiError> {
    let letters = id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if id.is_empty() || id.len() > 100 || !letters {
        return Err(ApiError::not_found());
    }
    Ok(())
}

/// Reads a body within its limits of size and time.
pub(super) async fn read_body(body: Body) -> Result<Bytes, ApiError> {
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES)).await;
    let body = read.map_err(|_| ApiError::of_status(StatusCode::REQUEST_TIMEOUT))?;
    body.map_err(|error| {
        let too_long = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if too_long {
            let message =
                format!("Request payload size exceeds the limit: {MAX_BODY_BYTES} bytes.");
            return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message);
        }
        ApiError::invalid("The request body ended too early.")
    })
}

/// Requires JSON. A web page cannot send this content type to another origin without a preflight,
/// so no page of another origin can write.
pub(super) fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if kind
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    {
        return Ok(());
    }
    Err(ApiError::invalid(
        "Invalid request: Content-Type must be application/json",
    ))
}

// === impl Parameters ===

impl Parameters {
    /// Parses a query.
    pub(super) fn new(query: RawQuery) -> Self {
        let query = query.0.unwrap_or_default();
        Self(
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// All values of a parameter.
    pub(super) fn all<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that is an enum.
    pub(super) fn choice<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let choice = self.get(name).map(|value| {
            let invalid = |_| ApiError::invalid(format!("Invalid value at '{name}': \"{value}\""));
            serde_json::from_value(value.into()).map_err(invalid)
        });
        choice.transpose()
    }

    /// The parameters of a read of values.
    pub(super) fn read_options(&self) -> Result<ReadOptions, ApiError> {
        Ok(ReadOptions {
            major: self.choice("majorDimension")?.unwrap_or(Dimension::Rows),
            render: self
                .choice("valueRenderOption")?
                .unwrap_or(RenderOption::FormattedValue),
        })
    }
}
