//! One call of the address that a sink names, and what the answer means. It follows no redirect: that could lead
//! anywhere.

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
    address::{Permit, Resolver},
    signature::Key,
};

/// Who is called, and how.
pub(crate) struct Endpoint {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    uri: Uri,
    /// For messages: the rest of an address is often a secret.
    pub(crate) host: String,
    keys: Vec<Key>,
    timeout: Duration,
}

/// What an answer means.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// The receiver has it.
    Taken,
    /// The receiver wants no more calls at all (410).
    Gone,
    /// It may have it or not; it is to be called again, not before this time.
    Failed {
        why: String,
        retry_after: Option<Duration>,
    },
}

/// Why an endpoint cannot be used: the key of the setting, and what is wrong with it.
pub(crate) type Unusable = (&'static str, String);

/// More of an answer's body is not read, which costs the connection.
const ANSWER_BYTES: usize = 64 << 10;

const AGENT: &str = concat!("formline/", env!("CARGO_PKG_VERSION"));

// === impl Endpoint ===

impl Endpoint {
    /// Connects only when it is first called. `networks` are allowed although they are not public.
    pub(crate) fn open(settings: &Webhook, networks: &[IpNet]) -> Result<Self, Unusable> {
        let (url, keys) = read(settings)?;
        let permit = Permit {
            networks: networks.into(),
            is_encrypted: url.scheme() == "https",
        };
        // An address needs no resolving, and the resolver does not see it.
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        };
        if let Some(address) = literal.filter(|address| !permit.allows(*address)) {
            return Err(("url", permit.refusal(address)));
        }
        if !permit.is_encrypted && networks.is_empty() {
            return Err(("url", "http:// is not encrypted".to_owned()));
        }
        let unreadable = |_| ("url", "it cannot be read".to_owned());
        Ok(Self {
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(connector(permit)),
            uri: url.as_str().parse().map_err(unreadable)?,
            host: url.host_str().unwrap_or_default().to_owned(),
            keys,
            timeout: settings.timeout,
        })
    }

    /// Calls once. `id` is the same at each attempt, for the receiver to recognise.
    pub(crate) async fn call(&self, id: &str, body: Bytes) -> Answer {
        let until = Instant::now() + self.timeout;
        let request = self.request(id, Timestamp::now().as_second(), body);
        let response = match timeout_at(until, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return failed(explain(&error)),
            Err(_) => return failed(format!("no answer within {:?}", self.timeout)),
        };
        let answer = judge(&response, Timestamp::now());
        // Only a connection whose answer was read whole can be used again. What it says does not matter.
        let _ = timeout_at(until, drain(response)).await;
        answer
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
            .expect("an id and signatures are ASCII")
    }
}

// === impl Answer ===

impl Answer {
    /// For metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Gone => "gone",
            Self::Failed { .. } => "failed",
        }
    }
}

/// The address and the keys of a sink, if they are such.
fn read(settings: &Webhook) -> Result<(Url, Vec<Key>), Unusable> {
    let url: Result<Url, _> = settings.url.expose().parse();
    let url = url.map_err(|error| ("url", format!("it cannot be read: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(("url", "it names a user, which is not sent".to_owned()));
    }
    let keys = settings.secrets.iter().map(Key::read);
    let keys: Result<_, _> = keys.collect();
    Ok((url, keys.map_err(|wrong| ("secret", wrong.to_owned()))?))
}

fn connector(permit: Permit) -> HttpsConnector<HttpConnector<Resolver>> {
    let mut http = HttpConnector::new_with_resolver(Resolver(permit));
    http.enforce_http(false);
    HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(http)
}

fn judge<B>(response: &Response<B>, now: Timestamp) -> Answer {
    match response.status() {
        status if status.is_success() => Answer::Taken,
        StatusCode::GONE => Answer::Gone,
        status => Answer::Failed {
            why: format!("the answer was {status}"),
            retry_after: retry_after(response.headers(), now),
        },
    }
}

/// How long the receiver wants to be left alone (RFC 9110, 10.2.3): seconds or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(text).ok()?.timestamp();
    date.duration_since(now).try_into().ok()
}

async fn drain(response: Response<Incoming>) {
    // Whatever comes of it: the status has said everything.
    let _ = Limited::new(response.into_body(), ANSWER_BYTES)
        .collect()
        .await;
}

fn failed(why: String) -> Answer {
    Answer::Failed {
        why,
        retry_after: None,
    }
}

/// The innermost cause says what happened, such as a refused connection.
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

    fn answer(status: u16, retry_after: &str) -> Answer {
        let response = Response::builder()
            .status(status)
            .header(RETRY_AFTER, retry_after);
        let now = "2026-11-21T08:00:00Z".parse().expect("a time");
        judge(&response.body(()).expect("a response"), now)
    }

    #[test]
    fn only_2xx_is_success_and_only_410_is_for_good() {
        for status in [200, 202, 204, 299] {
            assert_eq!(answer(status, "1"), Answer::Taken);
        }
        assert_eq!(answer(410, "1"), Answer::Gone);
        for status in [301, 302, 304, 307, 400, 401, 404, 429, 500, 503] {
            assert!(matches!(answer(status, "1"), Answer::Failed { .. }));
        }
    }

    #[test]
    fn a_receiver_may_ask_for_patience() {
        for (text, expected) in [
            ("120", Some(120)),
            ("Sat, 21 Nov 2026 08:00:07 GMT", Some(7)),
            ("Sat, 21 Nov 2026 07:00:00 GMT", None),
            ("-1", None),
            ("soon", None),
        ] {
            let Answer::Failed { retry_after, .. } = answer(503, text) else {
                panic!("503 is a failure");
            };
            assert_eq!(retry_after, expected.map(Duration::from_secs), "{text}");
        }
    }
}
