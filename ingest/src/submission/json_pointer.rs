//! JSON pointers (RFC 6901).

/// Escapes a member name for use as one segment of a JSON pointer.
pub(crate) fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}
