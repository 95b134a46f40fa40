//! The response to an accepted submission.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
};
use formline_core::event::format_time;

use super::sender::Receipt;
use crate::media_type::JSON;

/// The header of a response that repeats an earlier one.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A response 202: Kafka has acknowledged the submission, and the pipeline processes it.
pub(crate) fn accepted(receipt: &Receipt) -> Response<Body> {
    let id = receipt.id;
    let received_at = format_time(receipt.received_at);
    // Both values contain only digits, letters, `-`, `:` and `.`, which need no escapes in JSON.
    let body = format!(r#"{{"id":"{id}","status":"accepted","received_at":"{received_at}"}}"#);
    let location = HeaderValue::try_from(format!("/v1/submissions/{id}"));
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::LOCATION, location.expect("a UUID is ASCII"));
    if receipt.is_replay {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
