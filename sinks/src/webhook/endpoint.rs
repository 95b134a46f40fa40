//! Calls the address that a sink names, and interprets the response. It follows no redirects,
//! because they could lead to private networks.

use std::time::Duration;

use formline_core::app::Webhook;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use ipnet::IpNet;
use jiff::{Timestamp, fmt::rfc2822};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use super::{
    address::{AddressPolicy, Resolver},
    signature::SigningKey,
};

/// The receiver of the calls of one sink.
pub(crate) struct Endpoint {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    uri: Uri,
    /// For logs and errors, because the rest of an address is often secret.
    pub(crate) host: String,
    keys: Vec<SigningKey>,
    timeout: Duration,
}

/// The outcome of a call.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum CallOutcome {
    /// The receiver has accepted the call.
    Accepted,
    /// The receiver wants no more calls at all (410).
    Gone,
    /// It is unknown whether the receiver has seen the call. It is called again, after this delay
    /// at the earliest.
    Failed {
        cause: String,
        retry_after: Option<Duration>,
    },
}

/// A setting that cannot be used: its key, and the problem.
pub(crate) type InvalidSetting = (&'static str, String);

/// Limit of bytes that are read of a response body. Beyond it, the connection is closed.
const RESPONSE_BYTES: usize = 64 << 10;

const AGENT: &str = concat!("formline/", env!("CARGO_PKG_VERSION"));

// === impl Endpoint ===

impl Endpoint {
    /// Reads the settings. It connects only on the first call. `networks` are allowed although they
    /// are not public.
    ///
    /// # Errors
    /// If the address or a secret cannot be used.
    pub(crate) fn open(settings: &Webhook, networks: &[IpNet]) -> Result<Self, InvalidSetting> {
        let (url, keys) = read(settings)?;
        let policy = AddressPolicy {
            networks: networks.into(),
            is_encrypted: url.scheme() == "https",
        };
        // An IP address is not resolved, so the resolver does not check it.
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        };
        if let Some(address) = literal.filter(|address| !policy.allows(*address)) {
            return Err(("url", policy.refusal(address)));
        }
        if !policy.is_encrypted && networks.is_empty() {
            return Err(("url", "http:// is not encrypted".to_owned()));
        }
        let invalid = |_| ("url", "it is not a valid URI".to_owned());
        Ok(Self {
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(connector(policy)),
            uri: url.as_str().parse().map_err(invalid)?,
            host: url.host_str().unwrap_or_default().to_owned(),
            keys,
            timeout: settings.timeout,
        })
    }

    /// Makes one call. `id` is the same at each attempt, so that the receiver can deduplicate on
    /// it.
    pub(crate) async fn call(&self, id: &str, body: Bytes) -> CallOutcome {
        let until = Instant::now() + self.timeout;
        let request = self.request(id, Timestamp::now().as_second(), body);
        let response = match timeout_at(until, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return failed(explain(&error)),
            Err(_) => return failed(format!("no response within {:?}", self.timeout)),
        };
        let outcome = interpret(&response, Timestamp::now());
        // A connection can be reused only after the whole body was read; its content does not
        // matter.
        let _ = timeout_at(until, drain(response)).await;
        outcome
    }

    fn request(&self, id: &str, seconds: i64, body: Bytes) -> Request<Full<Bytes>> {
        let signatures: Vec<String> = (self.keys.iter())
            .map(|key| key.sign(id, seconds, &body))
            .collect();
        let request = Request::post(&self.uri)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signatures.join(" "));
        request
            .body(Full::new(body))
            .expect("ids and signatures are ASCII")
    }
}

// === impl CallOutcome ===

impl CallOutcome {
    /// The value of the label `outcome`.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Accepted => "taken",
            Self::Gone => "gone",
            Self::Failed { .. } => "failed",
        }
    }
}

/// The address and the keys of a sink.
fn read(settings: &Webhook) -> Result<(Url, Vec<SigningKey>), InvalidSetting> {
    let url: Result<Url, _> = settings.url.expose().parse();
    let url = url.map_err(|error| ("url", format!("it is not a URL: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err((
            "url",
            "it contains a user name, which is not sent".to_owned(),
        ));
    }
    let keys = settings.secrets.iter().map(SigningKey::read);
    let keys: Result<_, _> = keys.collect();
    Ok((url, keys.map_err(|wrong| ("secret", wrong.to_owned()))?))
}

fn connector(policy: AddressPolicy) -> HttpsConnector<HttpConnector<Resolver>> {
    let mut http = HttpConnector::new_with_resolver(Resolver(policy));
    http.enforce_http(false);
    HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(http)
}

fn interpret<B>(response: &Response<B>, now: Timestamp) -> CallOutcome {
    match response.status() {
        status if status.is_success() => CallOutcome::Accepted,
        StatusCode::GONE => CallOutcome::Gone,
        status => CallOutcome::Failed {
            cause: format!("the response was {status}"),
            retry_after: retry_after(response.headers(), now),
        },
    }
}

/// The delay that the receiver asks for (RFC 9110, section 10.2.3): seconds or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(text).ok()?.timestamp();
    date.duration_since(now).try_into().ok()
}

async fn drain(response: Response<Incoming>) {
    // An error does not matter, because the status has decided the outcome.
    let _ = Limited::new(response.into_body(), RESPONSE_BYTES)
        .collect()
        .await;
}

fn failed(cause: String) -> CallOutcome {
    CallOutcome::Failed {
        cause,
        retry_after: None,
    }
}

/// The innermost source says what happened, such as a refused connection.
fn explain(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    format!("the call failed: {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, retry_after: &str) -> CallOutcome {
        let response = Response::builder()
            .status(status)
            .header(RETRY_AFTER, retry_after);
        let now = "2026-11-21T08:00:00Z".parse().expect("a time");
        interpret(&response.body(()).expect("a response"), now)
    }

    #[test]
    fn the_labels_of_outcomes_keep_their_words() {
        let labels = [200, 410, 500].map(|status| outcome(status, "1").label());
        assert_eq!(labels, ["taken", "gone", "failed"]);
    }

    #[test]
    fn only_2xx_is_success_and_only_410_is_final() {
        for status in [200, 202, 204, 299] {
            assert_eq!(outcome(status, "1"), CallOutcome::Accepted);
        }
        assert_eq!(outcome(410, "1"), CallOutcome::Gone);
        for status in [301, 302, 304, 307, 400, 401, 404, 429, 500, 503] {
            assert!(matches!(outcome(status, "1"), CallOutcome::Failed { .. }));
        }
    }

    #[test]
    fn a_receiver_can_ask_for_a_delay() {
        for (text, expected) in [
            ("120", Some(120)),
            ("Sat, 21 Nov 2026 08:00:07 GMT", Some(7)),
            ("Sat, 21 Nov 2026 07:00:00 GMT", None),
            ("-1", None),
            ("soon", None),
        ] {
            let CallOutcome::Failed { retry_after, .. } = outcome(503, text) else {
                panic!("503 is a failure");
            };
            assert_eq!(retry_after, expected.map(Duration::from_secs), "{text}");
        }
    }
}
