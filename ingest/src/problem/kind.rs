//! The table of all problem types.

use axum::http::StatusCode;

/// The problem types that clients can distinguish.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ProblemKind {
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

// === impl ProblemKind ===

impl ProblemKind {
    /// All problem types.
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

    /// The status, the last part of the `type` URI, and the title. Never change the first two:
    /// clients depend on them.
    const fn entry(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Malformed => (400, "malformed", "The body cannot be parsed"),
            Self::BadIdempotencyKey => (400, "idempotency-key", "The Idempotency-Key is not valid"),
            Self::ForbiddenOrigin => (403, "origin", "The origin of the page is not allowed"),
            Self::NotFound => (404, "not-found", "The resource does not exist"),
            Self::MethodNotAllowed => (405, "method", "The resource does not support this method"),
            Self::Timeout => (408, "timeout", "The body did not arrive in time"),
            Self::InProgress => (409, "in-progress", "The same submission is being processed"),
            Self::TooLarge => (413, "too-large", "The submission is too large"),
            Self::UriTooLong => (414, "uri-too-long", "The URI is too long"),
            Self::MediaType => (415, "media-type", "The media type is not supported"),
            Self::Invalid => (422, "invalid", "The submission is not valid"),
            Self::KeyReused => (
                422,
                "key-reused",
                "The Idempotency-Key belongs to another submission",
            ),
            Self::RateLimited => (429, "rate-limited", "Too many submissions"),
            Self::HeadersTooLarge => (431, "headers-too-large", "The headers are too large"),
            Self::Internal => (500, "internal", "An internal error occurred"),
            Self::Overloaded => (503, "overloaded", "The server is overloaded"),
            Self::Unavailable => (
                503,
                "unavailable",
                "Submissions cannot be stored at the moment",
            ),
        }
    }

    /// The HTTP status.
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.entry().0).expect("the table contains valid statuses only")
    }

    /// The `title`: a short summary of the problem type.
    pub(crate) const fn title(self) -> &'static str {
        self.entry().2
    }

    /// The `type`: an absolute URI that identifies the problem type. It cannot be dereferenced.
    pub(crate) fn uri(self) -> String {
        format!("urn:formline:problem:{}", self.entry().1)
    }

    /// Whether the same request may succeed after a few seconds.
    pub(super) const fn is_retryable(self) -> bool {
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
    fn statuses_and_types_are_stable() {
        let entries = ProblemKind::ALL.map(|kind| {
            let (status, name, _) = kind.entry();
            assert_eq!(kind.uri(), format!("urn:formline:problem:{name}"));
            format!("{status} {name}")
        });
        let expected = [
            "400 malformed",
            "400 idempotency-key",
            "403 origin",
            "404 not-found",
            "405 method",
            "408 timeout",
            "409 in-progress",
            "413 too-large",
            "414 uri-too-long",
            "415 media-type",
            "422 invalid",
            "422 key-reused",
            "429 rate-limited",
            "431 headers-too-large",
            "500 internal",
            "503 overloaded",
            "503 unavailable",
        ];
        assert_eq!(entries, expected);
    }

    #[test]
    fn every_kind_has_an_error_status_and_a_unique_type() {
        let types: HashSet<String> = ProblemKind::ALL.iter().map(|kind| kind.uri()).collect();
        assert_eq!(types.len(), ProblemKind::ALL.len());
        assert!(
            ProblemKind::ALL
                .iter()
                .all(|kind| kind.status().as_u16() >= 400)
        );
    }
}
