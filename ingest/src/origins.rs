//! CORS: which pages of other sites may use a form.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::problem::{Kind, Problem};

/// The origins of a form.
#[derive(Debug)]
pub(crate) struct Origins(Vec<HeaderValue>);

/// Header of a preflight that names the method to come.
const REQUESTED_METHOD: HeaderName = header::ACCESS_CONTROL_REQUEST_METHOD;

// === impl Origins ===

impl Origins {
    /// The declared origins.
    pub(crate) fn new(declared: &[String]) -> Self {
        let origin = |text: &String| HeaderValue::from_str(text.trim_end_matches('/')).ok();
        Self(declared.iter().filter_map(origin).collect())
    }

    /// Refuses a submission from a page that is neither ours nor allowed. CORS alone does not: a browser sends a plain
    /// form anywhere, and only hides the answer. Without declared origins any page may submit, and programs, which
    /// send no `Origin`, always may.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let refused = match headers.get(header::ORIGIN) {
            Some(origin) => {
                !self.0.is_empty() && !self.0.contains(origin) && !is_own(origin, headers)
            }
            None => false,
        };
        match refused {
            true => Err(Problem::new(
                Kind::ForbiddenOrigin,
                "this page's origin is not among the form's origins",
            )),
            false => Ok(()),
        }
    }

    /// Lets an allowed page read the answer.
    pub(crate) fn expose(&self, origin: Option<HeaderValue>, answer: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        answer.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin.filter(|origin| self.0.contains(origin)) {
            let exposed = "location, retry-after, idempotency-replayed, x-request-id";
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(exposed),
            );
        }
    }

    /// Answers OPTIONS: a preflight, or the plain question what is allowed. `allow` lists the methods of the address.
    pub(crate) fn preflight(&self, headers: &HeaderMap, allow: &'static str) -> Response {
        let mut answer = (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response();
        let origin = headers.get(header::ORIGIN);
        let allowed = origin.filter(|origin| self.0.contains(origin)).cloned();
        if let (Some(_), true) = (&allowed, headers.contains_key(REQUESTED_METHOD)) {
            let permissions = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
                (
                    header::ACCESS_CONTROL_ALLOW_HEADERS,
                    "content-type, idempotency-key, x-request-id, traceparent",
                ),
                // Two hours, the most that browsers keep.
                (header::ACCESS_CONTROL_MAX_AGE, "7200"),
            ];
            for (name, value) in permissions {
                answer
                    .headers_mut()
                    .insert(name, HeaderValue::from_static(value));
            }
        }
        self.expose(allowed, answer.headers_mut());
        answer
    }
}

/// Whether the page was served by this very address. The scheme is not compared: behind a proxy we do not know ours.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
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

    fn from(origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("forms.example"));
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        headers
    }

    #[test]
    fn with_declared_origins_only_they_and_our_own_pages_may_submit() {
        let origins = Origins::new(&["https://a.example/".to_owned()]);
        assert!(origins.check(&from("https://a.example")).is_ok());
        assert!(origins.check(&from("https://forms.example")).is_ok());
        assert!(origins.check(&HeaderMap::new()).is_ok());
        for other in [
            "https://b.example",
            "http://a.example",
            "null",
            "https://a.example.b.example",
        ] {
            assert!(origins.check(&from(other)).is_err(), "{other}");
        }
        assert!(Origins::new(&[]).check(&from("null")).is_ok());
    }

    #[test]
    fn only_an_allowed_page_gets_permissions() {
        let origins = Origins::new(&["https://a.example".to_owned()]);
        for (origin, allowed) in [("https://a.example", true), ("https://b.example", false)] {
            let mut asked = from(origin);
            asked.insert(REQUESTED_METHOD, HeaderValue::from_static("POST"));
            let answer = origins.preflight(&asked, "POST");
            assert_eq!(answer.status(), StatusCode::NO_CONTENT);
            assert_eq!(
                answer
                    .headers()
                    .contains_key(header::ACCESS_CONTROL_MAX_AGE),
                allowed
            );
            assert_eq!(
                answer
                    .headers()
                    .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN),
                allowed
            );
            assert!(
                !answer
                    .headers()
                    .contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS)
            );
        }
    }
}
