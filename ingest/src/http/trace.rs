//! W3C Trace Context, level 1: takes the context of a request, so that the spans of the pipeline
//! join its trace.

use axum::http::{HeaderMap, HeaderValue};

/// The request's `traceparent`, if it is valid. Ingest does not start a trace, because it exports
/// no root span.
pub(crate) fn parent(headers: &HeaderMap) -> Option<HeaderValue> {
    headers
        .get("traceparent")
        .filter(|value| is_valid(value.as_bytes()))
        .cloned()
}

/// Checks the format `version-trace id-parent id-flags` in lower-case hexadecimal. An id of zeros
/// only is invalid, and so is version ff. Later versions may append parts.
fn is_valid(text: &[u8]) -> bool {
    let mut parts = text.split(|byte| *byte == b'-');
    let mut part = |length| {
        parts
            .next()
            .filter(|part| part.len() == length && part.iter().all(is_hex))
    };
    let (version, trace, parent, flags) = (part(2), part(32), part(16), part(2));
    let is_id = |id: Option<&[u8]>| id.is_some_and(|id| id.iter().any(|byte| *byte != b'0'));
    let complete = match version {
        Some(b"00") => text.len() == 55,
        Some(other) => other != b"ff",
        None => false,
    };
    complete && is_id(trace) && is_id(parent) && flags.is_some()
}

fn is_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_contexts_are_accepted() {
        let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        assert!(is_valid(format!("00-{trace}-{parent}-01").as_bytes()));
        assert!(is_valid(format!("cc-{trace}-{parent}-01-later").as_bytes()));
        for wrong in [
            String::new(),
            format!("00-{trace}-{parent}-01-more"),
            format!("ff-{trace}-{parent}-01"),
            format!("00-{}-{parent}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{parent}-01", trace.to_uppercase()),
            format!("00-{trace}-{parent}"),
        ] {
            assert!(!is_valid(wrong.as_bytes()), "{wrong}");
        }
    }
}
