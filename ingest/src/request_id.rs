//! The id of a request, which links a response to its log entry. The client or a proxy may supply
//! it.

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

/// The id of a request, and the header value that supplied it.
#[derive(Clone, Debug)]
pub(crate) struct RequestId {
    uuid: Uuid,
    given: Option<HeaderValue>,
}

/// The header of requests and responses that carries the id.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

// === impl RequestId ===

impl RequestId {
    /// Takes the id from the request if it is a UUID with or without hyphens, which nginx and Envoy
    /// send; generates one otherwise. Accepting any other text would allow log injection.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let given = headers.get(&X_REQUEST_ID);
        let parsed = given.and_then(|value| Uuid::try_parse_ascii(value.as_bytes()).ok());
        match (given, parsed) {
            (Some(given), Some(uuid)) => Self {
                uuid,
                given: Some(given.clone()),
            },
            _ => Self {
                uuid: generate(),
                given: None,
            },
        }
    }

    /// The id itself.
    pub(crate) fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The value of the response header.
    pub(crate) fn header(&self) -> HeaderValue {
        let written = || {
            let mut text = Uuid::encode_buffer();
            HeaderValue::from_str(self.uuid.hyphenated().encode_lower(&mut text))
                .expect("a UUID is ASCII")
        };
        self.given.clone().unwrap_or_else(written)
    }

    /// A number that differs between requests, for jitter.
    pub(crate) fn number(&self) -> u64 {
        self.uuid.as_u64_pair().1
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid.fmt(f)
    }
}

/// A UUID from a random number per process and a counter. It is unique, and costs a tenth of asking
/// the kernel for random bytes for each request.
fn generate() -> Uuid {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let bytes = Uuid::from_u64_pair(*PROCESS, count).into_bytes();
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_header(given: &'static str) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_static(given));
        RequestId::from_headers(&headers)
    }

    #[test]
    fn a_uuid_is_echoed_unchanged_and_other_text_is_not() {
        let plain = "0190f3b0aaaa7bbb8cccddddeeeeffff";
        assert_eq!(from_header(plain).header(), plain);
        assert_ne!(from_header("x").header(), "x");
    }

    #[test]
    fn generated_ids_differ() {
        assert_ne!(from_header("x").uuid(), from_header("x").uuid());
    }
}
