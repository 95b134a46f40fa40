//! The admin listener of a running process, asked over HTTP. It speaks neither TLS nor passwords.

use std::{error::Error, fmt, str::FromStr, time::Duration};

use reqwest::{Client, StatusCode};

/// Where a process answers, such as `http://127.0.0.1:8081`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Address(String);

/// A text that is no address.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct NoAddress;

/// Asks admin listeners.
#[derive(Clone, Debug)]
pub(crate) struct Visitor(Client);

/// Why there is no answer. Retry: the process may be starting, or its machine may be away.
#[derive(Debug)]
pub(crate) enum Away {
    /// Nobody answers, or not in time.
    Unreachable(String),
    /// Somebody answers, and not with what was asked for.
    Refused(StatusCode),
    /// The answer is larger than any of ours.
    TooLarge,
    /// The answer is not what ours are.
    Strange(String),
}

/// A process on loopback answers within milliseconds; one that hangs must not hold up a view of many.
const PATIENCE: Duration = Duration::from_secs(2);

/// Metrics of a hundred steps have a tenth of it. At the bound the answer counts as none.
const LIMIT: usize = 16 << 20;

// === impl Address ===

impl FromStr for Address {
    type Err = NoAddress;

    /// Also takes the address of the metrics themselves, which an operator knows from Prometheus.
    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let base = text.trim_end_matches('/');
        let base = base.strip_suffix("/metrics").unwrap_or(base);
        let host = base.strip_prefix("http://").ok_or(NoAddress)?;
        let is_url = reqwest::Url::parse(base).is_ok() && !host.is_empty();
        is_url.then(|| Self(base.to_owned())).ok_or(NoAddress)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write the address of an admin listener, such as http://127.0.0.1:8081")
    }
}

impl Error for NoAddress {}

// === impl Visitor ===

impl Visitor {
    /// Goes straight to the address: a proxy from the environment is no way to a process beside us.
    pub(crate) fn new() -> reqwest::Result<Self> {
        let client = Client::builder().no_proxy().timeout(PATIENCE);
        client.build().map(Self)
    }

    /// The page at a path, such as `/metrics`. `/readyz` also has one when it says 503.
    pub(crate) async fn page(&self, address: &Address, path: &str) -> Result<String, Away> {
        let asked = self.0.get(format!("{address}{path}")).send().await;
        let mut answer = asked.map_err(Away::unreachable)?;
        let is_page = |status: StatusCode| {
            status.is_success() || (path == "/readyz" && status == StatusCode::SERVICE_UNAVAILABLE)
        };
        if !is_page(answer.status()) {
            return Err(Away::Refused(answer.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(Away::unreachable)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LIMIT {
                return Err(Away::TooLarge);
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

// === impl Away ===

impl Away {
    /// The last cause is what a person understands: connection refused, not how our client came to try it.
    #[allow(clippy::needless_pass_by_value)] // it is what `map_err` gives
    fn unreachable(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Unreachable(format!("no answer within {PATIENCE:?}"));
        }
        let mut cause: &dyn Error = &error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        Self::Unreachable(cause.to_string())
    }

    /// An answer that cannot be read, and why.
    pub(crate) fn strange(why: impl fmt::Display) -> Self {
        Self::Strange(why.to_string())
    }
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(cause) => f.write_str(cause),
            Self::Refused(status) => write!(f, "it answers {status}"),
            Self::Strange(why) => write!(f, "its answer is not Formline's: {why}"),
            Self::TooLarge => write!(f, "its answer has more than {LIMIT} bytes"),
        }
    }
}

impl Error for Away {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_name_the_metrics() {
        let address = Address("http://127.0.0.1:8081".to_owned());
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
            assert_eq!(wrong.parse::<Address>(), Err(NoAddress), "{wrong}");
        }
    }
}
