//! What a request brings: path, content type, body and query, each checked and bounded.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::RawQuery;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::super::cell::Render;
use super::super::metadata::Dimension;
use super::super::refusal::Refusal;
use super::super::values::ReadOptions;

/// Larger requests are refused with 413. Google has no hard limit and recommends 2 MB.
const MAX_BODY_BYTES: usize = 16 << 20;
/// A client that sends its body slower than this is cut off with 408.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether this can be the id of a spreadsheet. Any other is not found, so it cannot be made either.
pub(super) fn check_id(id: &str) -> Result<(), Refusal> {
    let letters = id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if id.is_empty() || id.len() > 100 || !letters {
        return Err(Refusal::not_found());
    }
    Ok(())
}

pub(super) async fn read_body(body: Body) -> Result<Bytes, Refusal> {
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES)).await;
    let body = read.map_err(|_| Refusal::of_status(StatusCode::REQUEST_TIMEOUT))?;
    body.map_err(|error| {
        let too_long = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if too_long {
            let message =
                format!("Request payload size exceeds the limit: {MAX_BODY_BYTES} bytes.");
            return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message);
        }
        Refusal::invalid("The request body ended too early.")
    })
}

/// A web page cannot send this type to another origin unasked, so no page can write here.
pub(super) fn check_json(headers: &HeaderMap) -> Result<(), Refusal> {
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
    Err(Refusal::invalid(
        "Invalid request: Content-Type must be application/json",
    ))
}

// === parameters ===

/// The query of a request. Parameters that do not concern the emulator, as `alt`, are ignored.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn new(query: RawQuery) -> Self {
        let query = query.0.unwrap_or_default();
        Self(
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    pub(super) fn all<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that has one of a few values.
    pub(super) fn choice<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let choice = self.get(name).map(|value| {
            let invalid = |_| Refusal::invalid(format!("Invalid value at '{name}': \"{value}\""));
            serde_json::from_value(value.into()).map_err(invalid)
        });
        choice.transpose()
    }

    pub(super) fn read_options(&self) -> Result<ReadOptions, Refusal> {
        Ok(ReadOptions {
            major: self.choice("majorDimension")?.unwrap_or(Dimension::Rows),
            render: self
                .choice("valueRenderOption")?
                .unwrap_or(Render::FormattedValue),
        })
    }
}
