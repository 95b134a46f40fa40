//! Cross-origin resource sharing (CORS): which pages of other sites may use a form.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::problem::{Problem, ProblemKind};

/// The origins that a form allows.
#[derive(Debug)]
pub(crate) struct CorsPolicy(Vec<HeaderValue>);

/// The header that marks a preflight request.
const REQUESTED_METHOD: HeaderName = header::ACCESS_CONTROL_REQUEST_METHOD;

// === impl CorsPolicy ===

impl CorsPolicy {
    /// The declared origins.
    pub(crate) fn new(declared: &[String]) -> Self {
        let origin = |text: &String| HeaderValue::from_str(text.trim_end_matches('/')).ok();
        Self(declared.iter().filter_map(origin).collect())
    }

    /// Rejects a submission from a page of another origin that is not allowed. CORS alone does not
    /// prevent it: a browser sends a plain form to any origin, and only hides the response. Without
    /// declared origins, any page may submit. Programs, which send no `Origin`, always may.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let rejected = match headers.get(header::ORIGIN) {
            Some(origin) => {
                !self.0.is_empty() && !self.0.contains(origin) && !is_same_origin(origin, headers)
            }
            None => false,
        };
        match rejected {
            true => Err(Problem::new(
                ProblemKind::ForbiddenOrigin,
                "the origin of this page is not among the origins that the form allows",
            )),
            false => Ok(()),
        }
    }

    /// Allows the page to read the response, if its origin is allowed.
    pub(crate) fn expose(&self, origin: Option<HeaderValue>, response: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        response.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin.filter(|origin| self.0.contains(origin)) {
            let exposed = "location, retry-after, idempotency-replayed, x-request-id";
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            response.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(exposed),
            );
        }
    }

    /// Responds to OPTIONS, whether it is a preflight or not. `allow` lists the methods of the
    /// resource.
    pub(crate) fn preflight(&self, headers: &HeaderMap, allow: &'static str) -> Response {
        let mut response = (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response();
        let origin = headers.get(header::ORIGIN);
        let allowed = origin.filter(|origin| self.0.contains(origin)).cloned();
        if let (Some(_), true) = (&allowed, headers.contains_key(REQUESTED_METHOD)) {
            let permissions = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
                (
                    header::ACCESS_CONTROL_ALLOW_HEADERS,
                    "content-type, idempotency-key, x-request-id, traceparent",
                ),
                // Two hours, the longest time that browsers respect.
                (header::ACCESS_CONTROL_MAX_AGE, "7200"),
            ];
            for (name, value) in permissions {
                response
                    .headers_mut()
                    .insert(name, HeaderValue::from_static(value));
            }
        }
        self.expose(allowed, response.headers_mut());
        response
    }
}

/// Whether this service served the page. The scheme is not compared, because a proxy may terminate
/// TLS.
fn is_same_origin(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    matches!((authority, host), (Some((_, authority)), Some(host)) if authority == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers_from(origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("forms.example"));
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        headers
    }

    #[test]
    fn with_declared_origins_only_those_and_the_own_origin_may_submit() {
        let policy = CorsPolicy::new(&["https://a.example/".to_owned()]);
        assert!(policy.check(&headers_from("https://a.example")).is_ok());
        assert!(policy.check(&headers_from("https://forms.example")).is_ok());
        assert!(policy.check(&HeaderMap::new()).is_ok());
        for other in [
            "https://b.example",
            "http://a.example",
            "null",
            "https://a.example.b.example",
        ] {
            assert!(policy.check(&headers_from(other)).is_err(), "{other}");
        }
        assert!(CorsPolicy::new(&[]).check(&headers_from("null")).is_ok());
    }

    #[test]
    fn only_an_allowed_origin_gets_cors_headers() {
        let policy = CorsPolicy::new(&["https://a.example".to_owned()]);
        for (origin, allowed) in [("https://a.example", true), ("https://b.example", false)] {
            let mut headers = headers_from(origin);
            headers.insert(REQUESTED_METHOD, HeaderValue::from_static("POST"));
            let response = policy.preflight(&headers, "POST");
            assert_eq!(response.status(), StatusCode::NO_CONTENT);
            assert_eq!(
                response
                    .headers()
                    .contains_key(header::ACCESS_CONTROL_MAX_AGE),
                allowed
            );
            assert_eq!(
                response
                    .headers()
                    .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN),
                allowed
            );
            assert!(
                !response
                    .headers()
                    .contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS)
            );
        }
    }
}
