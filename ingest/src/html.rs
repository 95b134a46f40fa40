//! An HTML document with a strict Content-Security-Policy.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

/// A rendered page and its policy.
#[derive(Clone, Debug)]
pub(crate) struct Html {
    body: Bytes,
    policy: HeaderValue,
}

const STYLE: &str = include_str!("style.css");

/// The Content-Security-Policy of a form page: it may use its own style and post to this service.
/// Browsers apply `form-action` to redirects, too, so the policy lists the redirect targets.
/// Origins that may submit may also embed the form.
pub(crate) fn policy(redirects: &[String], origins: &[String]) -> HeaderValue {
    let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let targets: String = redirects
        .iter()
        .map(|address| format!(" {}", origin(address)))
        .collect();
    let ancestors: String = origins.iter().map(|origin| format!(" {origin}")).collect();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'{targets}; \
         frame-ancestors 'self'{ancestors}; base-uri 'none'"
    );
    // An address with characters that a header value cannot contain cannot be a redirect target
    // either.
    let strict = HeaderValue::from_static("default-src 'none'; form-action 'self'");
    HeaderValue::try_from(policy).unwrap_or(strict)
}

/// The scheme, host and port of a URL.
fn origin(address: &str) -> &str {
    let host = address.find("://").map_or(0, |at| at + 3);
    let end = address[host..]
        .find(['/', '?', '#'])
        .map_or(address.len(), |at| host + at);
    &address[..end]
}

// === impl Html ===

impl Html {
    /// Renders a document around `content`, with `title` for the window and `heading` on the page.
    pub(crate) fn new(title: &str, heading: &str, content: &Markup, policy: HeaderValue) -> Self {
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body { main { h1 { (heading) } (content) } }
            }
        };
        Self {
            body: document.into_string().into(),
            policy,
        }
    }

    /// Replaces the body of a response with this page and sets its headers.
    pub(crate) fn write(self, response: &mut Response) {
        *response.body_mut() = Body::from(self.body);
        set_headers(response.headers_mut(), self.policy);
    }
}

fn set_headers(headers: &mut HeaderMap, policy: HeaderValue) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // With `no-referrer`, browsers would send `Origin: null` with this form.
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
}

impl IntoResponse for Html {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        self.write(&mut response);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_lists_redirect_targets_and_embedding_origins() {
        let redirects = ["https://example.org:8443/thanks?a=b".to_owned()];
        let policy = policy(&redirects, &["https://a.example".to_owned()]);
        let policy = policy.to_str().expect("the policy is ASCII");
        assert!(
            policy.contains("form-action 'self' https://example.org:8443;"),
            "{policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'self' https://a.example;"),
            "{policy}"
        );
    }
}
