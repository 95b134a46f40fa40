//! Problem details (RFC 9457) as a response. Internal causes are logged and never sent.

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Method, header},
    response::{IntoResponse, Response},
};
use formline_core::app::schema::Violation;
use serde::Serialize;

use super::kind::ProblemKind;
use crate::{
    html::Html,
    media_type::{ACCEPTED, PROBLEM},
    request_id::RequestId,
};

/// An error as the client sees it. `Problem::render` turns it into a complete response, once the
/// request id is known.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// What went wrong.
    pub(crate) kind: ProblemKind,
    /// What the client can do about it.
    pub(crate) detail: Cow<'static, str>,
    /// All violations of the form's schema.
    pub(crate) errors: Vec<Violation>,
    retry_after: Option<u64>,
    cause: Option<Arc<str>>,
    page: Option<Box<Html>>,
}

/// The JSON document of a problem.
#[derive(Serialize)]
struct ProblemDocument<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Violation],
}

/// Rejected clients are asked to retry after 1 to 4 seconds, so that they do not all retry at the
/// same time.
const MAX_RETRY_SECONDS: u64 = 4;

// === impl Problem ===

impl Problem {
    /// Creates a problem; `detail` says what the client can do about it.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            cause: None,
            page: None,
        }
    }

    /// A submission that violates its form's schema.
    pub(crate) fn invalid(errors: Vec<Violation>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            many => format!("{} values are not valid; see `errors`", many.len()),
        };
        Self {
            errors,
            ..Self::new(ProblemKind::Invalid, detail)
        }
    }

    /// Sets `Retry-After` in seconds.
    #[must_use]
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    /// Adds a cause that is logged and not sent to the client.
    #[must_use]
    pub(crate) fn with_cause(self, cause: &impl ToString) -> Self {
        Self {
            cause: Some(cause.to_string().into()),
            ..self
        }
    }

    /// Sends an HTML page instead of JSON.
    #[must_use]
    pub(crate) fn with_page(self, page: Html) -> Self {
        Self {
            page: Some(page.into()),
            ..self
        }
    }

    /// Completes a response that carries a problem; does nothing otherwise. Headers that the
    /// response already has, such as `Allow`, are kept.
    pub(crate) fn render(response: &mut Response, id: &RequestId, method: &Method) {
        let Some(mut problem) = response.extensions_mut().remove::<Self>() else {
            return;
        };
        if let Some(cause) = &problem.cause {
            tracing::warn!(request = %id, status = problem.kind.status().as_u16(), cause = &**cause, "a request failed");
        }
        *response.status_mut() = problem.kind.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = problem.retry_seconds(id) {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        headers.remove(header::CONTENT_LENGTH);
        match problem.page.take() {
            Some(page) => page.write(response),
            None if method == Method::HEAD => {}
            None => *response.body_mut() = Body::from(problem.document(id)),
        }
    }

    fn retry_seconds(&self, id: &RequestId) -> Option<u64> {
        let jittered = self
            .kind
            .is_retryable()
            .then(|| 1 + id.number() % MAX_RETRY_SECONDS);
        self.retry_after.or(jittered)
    }

    fn document(&self, id: &RequestId) -> Vec<u8> {
        let document = ProblemDocument {
            r#type: self.kind.uri(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            instance: format!("urn:uuid:{}", id.uuid()),
            errors: &self.errors,
        };
        serde_json::to_vec(&document).expect("strings and numbers always serialize")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        if self.kind == ProblemKind::MediaType {
            // A response 415 lists the supported media types (RFC 9110, 15.5.16).
            let accepted = HeaderValue::from_static(ACCEPTED);
            response
                .headers_mut()
                .insert(HeaderName::from_static("accept-post"), accepted);
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_the_request_and_hides_the_cause() {
        let id = RequestId::from_headers(&axum::http::HeaderMap::new());
        let mut response = Problem::new(ProblemKind::Unavailable, "try again")
            .with_cause(&"secret")
            .into_response();
        Problem::render(&mut response, &id, &Method::POST);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        let text = String::from_utf8(
            Problem::new(ProblemKind::Unavailable, "again")
                .with_cause(&"secret")
                .document(&id),
        );
        let text = text.expect("JSON is UTF-8");
        assert!(text.contains(&id.uuid().to_string()), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
