//! The answer to an accepted submission.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
};
use formline_core::event::format_time;

use crate::sender::Receipt;

/// Says that an answer repeats an earlier one.
pub(crate) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// 202: Kafka has the submission, the line works on it.
pub(crate) fn accepted(receipt: &Receipt) -> Response<Body> {
    let id = receipt.id;
    let received_at = format_time(receipt.received_at);
    // Both are made of hexadecimal digits, `-`, `:`, `.`, `T` and `Z`: nothing that JSON escapes.
    let body = format!(r#"{{"id":"{id}","status":"accepted","received_at":"{received_at}"}}"#);
    let location = HeaderValue::try_from(format!("/v1/submissions/{id}"));
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(crate::media::JSON),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::LOCATION, location.expect("a uuid is ascii"));
    if receipt.is_replay {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
