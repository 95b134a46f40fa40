//! A client of the admin listeners of running processes. They speak plain HTTP without
//! authentication.

use std::{error::Error, fmt, str::FromStr, time::Duration};

use reqwest::{Client, StatusCode};

/// The base URL of an admin listener, such as `http://127.0.0.1:8081`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AdminAddress(String);

/// The text is not an address of an admin listener.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct InvalidAdminAddress;

/// Queries admin listeners. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AdminClient(Client);

/// Why a query has failed. Retry: the process may be starting, or its host may be unreachable.
#[derive(Debug)]
pub(crate) enum AdminError {
    /// No response, or not in time; with the cause.
    Unreachable(String),
    /// A response with an unexpected status.
    Status(StatusCode),
    /// The response exceeds [`MAX_RESPONSE_BYTES`].
    TooLarge,
    /// The response is not in the format of Formline; with the cause.
    Malformed(String),
}

/// A process on loopback responds within milliseconds, and one that hangs must not delay a view of
/// several.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The metrics of a hundred steps have a tenth of this size. A larger response is an error.
const MAX_RESPONSE_BYTES: usize = 16 << 20;

// === impl AdminAddress ===

impl FromStr for AdminAddress {
    type Err = InvalidAdminAddress;

    /// Also accepts the URL of the metrics, which operators know from Prometheus.
    fn from_str(text: &str) -> Result<Self, InvalidAdminAddress> {
        let base = text.trim_end_matches('/');
        let base = base.strip_suffix("/metrics").unwrap_or(base);
        let host = base.strip_prefix("http://").ok_or(InvalidAdminAddress)?;
        let is_url = reqwest::Url::parse(base).is_ok() && !host.is_empty();
        is_url
            .then(|| Self(base.to_owned()))
            .ok_or(InvalidAdminAddress)
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl InvalidAdminAddress ===

impl fmt::Display for InvalidAdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected the address of an admin listener, such as http://127.0.0.1:8081")
    }
}

impl Error for InvalidAdminAddress {}

// === impl AdminClient ===

impl AdminClient {
    /// Connects directly: a proxy from the environment may not reach the processes.
    pub(crate) fn new() -> reqwest::Result<Self> {
        let client = Client::builder().no_proxy().timeout(TIMEOUT);
        client.build().map(Self)
    }

    /// The body at a path, such as `/metrics`. `/readyz` has a body also with status 503.
    pub(crate) async fn get(
        &self,
        address: &AdminAddress,
        path: &str,
    ) -> Result<String, AdminError> {
        let response = self.0.get(format!("{address}{path}")).send().await;
        let mut response = response.map_err(AdminError::unreachable)?;
        let is_expected = |status: StatusCode| {
            status.is_success() || (path == "/readyz" && status == StatusCode::SERVICE_UNAVAILABLE)
        };
        if !is_expected(response.status()) {
            return Err(AdminError::Status(response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(AdminError::unreachable)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_RESPONSE_BYTES {
                return Err(AdminError::TooLarge);
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

// === impl AdminError ===

impl AdminError {
    /// Keeps the innermost cause, such as "connection refused": it is the one that operators
    /// understand.
    #[allow(clippy::needless_pass_by_value)] // `map_err` passes it by value
    fn unreachable(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Unreachable(format!("no response within {TIMEOUT:?}"));
        }
        let mut cause: &dyn Error = &error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        Self::Unreachable(cause.to_string())
    }

    /// A response that cannot be parsed.
    pub(crate) fn malformed(cause: impl fmt::Display) -> Self {
        Self::Malformed(cause.to_string())
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(cause) => f.write_str(cause),
            Self::Status(status) => write!(f, "unexpected status {status}"),
            Self::Malformed(cause) => write!(f, "not a response of Formline: {cause}"),
            Self::TooLarge => write!(f, "the response exceeds {MAX_RESPONSE_BYTES} bytes"),
        }
    }
}

impl Error for AdminError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_include_the_path_of_the_metrics() {
        let address = AdminAddress("http://127.0.0.1:8081".to_owned());
        for text in ["", "/", "/metrics", "/metrics/"] {
            let text = format!("http://127.0.0.1:8081{text}");
            assert_eq!(text.parse(), Ok(address.clone()), "{text}");
        }
        for wrong in [
            "",
            "http://",
            "127.0.0.1:8081",
            "https://localhost",
            "http://a b",
        ] {
            let parsed = wrong.parse::<AdminAddress>();
            assert_eq!(parsed, Err(InvalidAdminAddress), "{wrong}");
        }
    }
}
