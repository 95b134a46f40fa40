//! RFC 9457 problems: the one shape of every error that a client sees. Causes inside stay in the log.

mod kind;

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Method, header},
    response::{IntoResponse, Response},
};
use formline_core::schema::Violation;
use serde::Serialize;

pub(crate) use self::kind::Kind;
use crate::{page::Html, request_id::RequestId};

/// An error as it is answered. It becomes a whole response in `Problem::write`, where the request's id is known.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// What went wrong.
    pub(crate) kind: Kind,
    /// What the client can do about it.
    pub(crate) detail: Cow<'static, str>,
    /// Every violation of the form's schema.
    pub(crate) errors: Vec<Violation>,
    retry_after: Option<u64>,
    cause: Option<Arc<str>>,
    page: Option<Box<Html>>,
}

/// The JSON of a problem.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Violation],
}

/// Media type of every error.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// Clients that were turned away come back after 1 to 4 seconds, so that they do not come at one moment.
const RETRY_SPREAD: u64 = 4;

// === impl Problem ===

impl Problem {
    /// A problem and what the client can do about it.
    pub(crate) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            cause: None,
            page: None,
        }
    }

    /// A submission that violates its form.
    pub(crate) fn invalid(errors: Vec<Violation>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            many => format!("{} values are wrong, see errors", many.len()),
        };
        Self {
            errors,
            ..Self::new(Kind::Invalid, detail)
        }
    }

    /// Names the seconds after which to come back.
    #[must_use]
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    /// Adds what the log should say and the client should not see.
    #[must_use]
    pub(crate) fn because(self, cause: &impl ToString) -> Self {
        Self {
            cause: Some(cause.to_string().into()),
            ..self
        }
    }

    /// Shows a person a page instead of JSON.
    #[must_use]
    pub(crate) fn shown_as(self, page: Html) -> Self {
        Self {
            page: Some(page.into()),
            ..self
        }
    }

    /// Turns the response that carries a problem into its full form. Headers that it already has, such as `Allow`,
    /// stay.
    pub(crate) fn write(response: &mut Response, id: &RequestId, method: &Method) {
        let Some(mut problem) = response.extensions_mut().remove::<Self>() else {
            return;
        };
        if let Some(cause) = &problem.cause {
            tracing::warn!(request = %id, status = problem.kind.status().as_u16(), cause = &**cause, "a request failed");
        }
        *response.status_mut() = problem.kind.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = problem.seconds_to_wait(id) {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        headers.remove(header::CONTENT_LENGTH);
        match problem.page.take() {
            Some(page) => page.write(response),
            None if method == Method::HEAD => {}
            None => *response.body_mut() = Body::from(problem.document(id)),
        }
    }

    fn seconds_to_wait(&self, id: &RequestId) -> Option<u64> {
        let spread = self
            .kind
            .may_be_retried()
            .then(|| 1 + id.number() % RETRY_SPREAD);
        self.retry_after.or(spread)
    }

    fn document(&self, id: &RequestId) -> Vec<u8> {
        let document = Document {
            r#type: self.kind.uri(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            instance: format!("urn:uuid:{}", id.uuid()),
            errors: &self.errors,
        };
        serde_json::to_vec(&document).expect("texts and numbers are always json")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        if self.kind == Kind::MediaType {
            // RFC 9110, 15.5.16: a 415 says what would be taken.
            let accepted = HeaderValue::from_static(crate::media::ACCEPTED);
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
    fn a_problem_names_the_request_and_keeps_the_cause_to_itself() {
        let id = RequestId::of(&axum::http::HeaderMap::new());
        let mut response = Problem::new(Kind::Unavailable, "try again")
            .because(&"secret")
            .into_response();
        Problem::write(&mut response, &id, &Method::POST);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        let text = String::from_utf8(
            Problem::new(Kind::Unavailable, "again")
                .because(&"secret")
                .document(&id),
        );
        let text = text.expect("json is utf-8");
        assert!(text.contains(&id.uuid().to_string()), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
