//! Content negotiation: whether a client wants HTML or JSON.

use axum::http::{HeaderMap, header};

/// Whether the client prefers HTML to JSON (RFC 9110, 12.5.1). A wildcard alone does not count as
/// HTML, because most programs send `*/*`.
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    let Some(accept) = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let quality = |ranges: &[&str]| {
        let named = |wanted: &str| accept.split(',').find_map(|range| weight(range, wanted));
        ranges.iter().find_map(|range| named(range)).unwrap_or(0.0)
    };
    let json = quality(&["application/json", "application/*", "*/*"]);
    quality(&["text/html"]) > json
}

/// The weight of a media range, if it is `wanted`.
fn weight(range: &str, wanted: &str) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(wanted) {
        return None;
    }
    let given = parts.find_map(|part| part.strip_prefix("q="));
    Some(given.and_then(|q| q.parse().ok()).unwrap_or(1.0))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn browsers_prefer_html_and_programs_do_not() {
        for (accept, expected) in [
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("text/html", true),
            ("text/html;q=0.5, application/json;q=0.4", true),
            ("*/*", false),
            ("application/json, text/html;q=0.9", false),
            ("application/json, text/html", false),
            ("text/html;q=0", false),
            ("image/png", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(prefers_html(&headers), expected, "{accept}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }
}
