//! The table of all problems.

use axum::http::StatusCode;

/// What can go wrong, as a client has to tell it apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Malformed,
    BadIdempotencyKey,
    ForbiddenOrigin,
    NotFound,
    MethodNotAllowed,
    Timeout,
    InProgress,
    TooLarge,
    UriTooLong,
    MediaType,
    Invalid,
    KeyReused,
    RateLimited,
    HeadersTooLarge,
    Internal,
    Overloaded,
    Unavailable,
}

// === impl Kind ===

impl Kind {
    /// Every kind.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 17] = [
        Self::Malformed,
        Self::BadIdempotencyKey,
        Self::ForbiddenOrigin,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::InProgress,
        Self::TooLarge,
        Self::UriTooLong,
        Self::MediaType,
        Self::Invalid,
        Self::KeyReused,
        Self::RateLimited,
        Self::HeadersTooLarge,
        Self::Internal,
        Self::Overloaded,
        Self::Unavailable,
    ];

    /// Status, the last part of the `type` URI, and title. Programs depend on the first two: never change them.
    const fn entry(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Malformed => (400, "malformed", "The body cannot be read"),
            Self::BadIdempotencyKey => (400, "idempotency-key", "The Idempotency-Key is not valid"),
            Self::ForbiddenOrigin => (403, "origin", "The page may not use this form"),
            Self::NotFound => (404, "not-found", "There is nothing at this address"),
            Self::MethodNotAllowed => (405, "method", "The address does not take this method"),
            Self::Timeout => (408, "timeout", "The body did not arrive in time"),
            Self::InProgress => (409, "in-progress", "The same submission is being processed"),
            Self::TooLarge => (413, "too-large", "The submission is too large"),
            Self::UriTooLong => (414, "uri-too-long", "The address is too long"),
            Self::MediaType => (415, "media-type", "The form does not take this media type"),
            Self::Invalid => (422, "invalid", "The submission does not fit the form"),
            Self::KeyReused => (422, "key-reused", "The key belongs to another submission"),
            Self::RateLimited => (429, "rate-limited", "Too many submissions"),
            Self::HeadersTooLarge => (431, "headers-too-large", "The headers are too large"),
            Self::Internal => (500, "internal", "Something went wrong here"),
            Self::Overloaded => (503, "overloaded", "Too many requests at this moment"),
            Self::Unavailable => (503, "unavailable", "Submissions cannot be stored right now"),
        }
    }

    /// Its status.
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.entry().0).expect("the table has statuses only")
    }

    /// Its title.
    pub(crate) const fn title(self) -> &'static str {
        self.entry().2
    }

    /// Its `type`: absolute and stable, and nothing to fetch.
    pub(crate) fn uri(self) -> String {
        format!("urn:formline:problem:{}", self.entry().1)
    }

    /// Whether the same request may succeed a little later.
    pub(super) const fn may_be_retried(self) -> bool {
        matches!(
            self,
            Self::InProgress | Self::Overloaded | Self::Unavailable
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_is_an_error_with_a_type_of_its_own() {
        let types: HashSet<String> = Kind::ALL.iter().map(|kind| kind.uri()).collect();
        assert_eq!(types.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| kind.status().as_u16() >= 400));
    }
}
