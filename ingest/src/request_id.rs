//! The id of a request: given by the client or a proxy, else made here. It joins an answer to its line in the log.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// A UUID, and the header in which it came.
#[derive(Clone, Debug)]
pub(crate) struct RequestId {
    uuid: Uuid,
    given: Option<HeaderValue>,
}

/// The header that carries it in both directions.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

// === impl RequestId ===

impl RequestId {
    /// The id that the request brings, if it is a UUID with or without hyphens (what nginx and Envoy send), else a
    /// new one. Anything else could smuggle text into logs.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(&X_REQUEST_ID);
        let parsed = given.and_then(|value| Uuid::try_parse_ascii(value.as_bytes()).ok());
        match (given, parsed) {
            (Some(given), Some(uuid)) => Self {
                uuid,
                given: Some(given.clone()),
            },
            _ => Self {
                uuid: next(),
                given: None,
            },
        }
    }

    /// The id itself.
    pub(crate) fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The header of the answer.
    pub(crate) fn header(&self) -> HeaderValue {
        let written = || {
            let mut text = Uuid::encode_buffer();
            HeaderValue::from_str(self.uuid.hyphenated().encode_lower(&mut text))
                .expect("a uuid is ascii")
        };
        self.given.clone().unwrap_or_else(written)
    }

    /// A number that differs from request to request, to spread what must not happen at one moment.
    pub(crate) fn number(&self) -> u64 {
        self.uuid.as_u64_pair().1
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid.fmt(f)
    }
}

/// A random number for this process, and a counter: unique, and a tenth of the cost of asking the kernel for random
/// bytes at every request.
fn next() -> Uuid {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let bytes = Uuid::from_u64_pair(*PROCESS, count).into_bytes();
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &'static str) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_static(given));
        RequestId::of(&headers)
    }

    #[test]
    fn uuids_are_taken_over_as_they_came_and_nothing_else_is() {
        let plain = "0190f3b0aaaa7bbb8cccddddeeeeffff";
        assert_eq!(of(plain).header(), plain);
        assert_ne!(of("x").header(), "x");
    }

    #[test]
    fn new_ids_differ() {
        assert_ne!(of("x").uuid(), of("x").uuid());
    }
}
