//! What every request needs, whatever its address: an id, a place among those in work, a last resort against panics,
//! security headers and a measurement. One function instead of a tower of layers, because each layer costs every
//! submission an allocation or two.

use std::{
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::{
    BoxError, Router,
    body::{Body, Bytes},
    extract::ConnectInfo,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::FutureExt as _;
use hyper::{Request, body::Body as HttpBody};
use tower::Service as _;

use crate::{
    limits::Limits,
    metrics::Metrics,
    problem::{Kind, Problem},
    request_id::{RequestId, X_REQUEST_ID},
};

/// The service behind all connections.
#[derive(Debug)]
pub(crate) struct Service {
    router: Router,
    metrics: Metrics,
    limits: Limits,
    in_flight: Arc<AtomicUsize>,
}

/// A place among the requests in work, free again when dropped.
struct Place<'a>(&'a AtomicUsize);

/// Longest address in bytes.
const URI_BYTES: usize = 8 << 10;

// === impl Service ===

impl Service {
    /// Puts the router to service; `in_flight` shows how many requests are in work.
    pub(crate) fn new(
        router: Router,
        metrics: Metrics,
        limits: Limits,
        in_flight: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            router,
            metrics,
            limits,
            in_flight,
        }
    }

    /// Answers one request.
    pub(crate) async fn answer<B>(&self, request: Request<B>, peer: SocketAddr) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let began = Instant::now();
        let durations = self.metrics.durations(request.uri().path());
        let method = request.method().clone();
        let id = RequestId::of(request.headers());
        let mut response = self.admit_and_route(request, peer).await;
        Problem::write(&mut response, &id, &method);
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, id.header());
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        durations.observe(&method, response.status(), began.elapsed());
        response
    }

    async fn admit_and_route<B>(&self, request: Request<B>, peer: SocketAddr) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let _place = match self.admit(&request) {
            Ok(place) => place,
            Err(problem) => return problem.into_response(),
        };
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let routed = AssertUnwindSafe(self.router.clone().call(request)).catch_unwind();
        match routed.await {
            Ok(response) => response.into_response(),
            // The panic hook has logged where; the others go on.
            Err(_panic) => Problem::new(Kind::Internal, "the request's id leads to the log")
                .because(&"the request panicked")
                .into_response(),
        }
    }

    fn admit<B>(&self, request: &Request<B>) -> Result<Place<'_>, Problem> {
        let place = Place(&self.in_flight);
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.limits.in_flight {
            return Err(Problem::new(
                Kind::Overloaded,
                "nothing was read; send it again",
            ));
        }
        if request
            .uri()
            .path_and_query()
            .is_some_and(|uri| uri.as_str().len() > URI_BYTES)
        {
            return Err(Problem::new(Kind::UriTooLong, "shorten the address"));
        }
        if header_bytes(request.headers()) > self.limits.header_bytes {
            let detail = format!("send at most {} bytes of headers", self.limits.header_bytes);
            return Err(Problem::new(Kind::HeadersTooLarge, detail));
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use axum::{http::Method, routing::get};
    use formline_core::{Client, Producer, Telemetry, producer::Options};

    use super::*;

    async fn panics() -> &'static str {
        panic!("as a mistake of ours would");
    }

    fn service(limits: Limits) -> Service {
        let client = Client::new("127.0.0.1:1", std::collections::BTreeMap::new());
        let (delivery_timeout, queue_messages, queue_kib) = (limits.delivery_timeout, 1, 1);
        let options = Options {
            delivery_timeout,
            queue_messages,
            queue_kib,
        };
        let producer = Arc::new(Producer::open(&client, options).expect("no broker is needed"));
        let metrics = Metrics::new(&Telemetry::default(), &producer);
        let router = Router::new()
            .route("/panics", get(panics))
            .route("/works", get(async || "ok"));
        Service::new(router, metrics, limits, Arc::default())
    }

    async fn get_status(service: &Service, path: &str) -> u16 {
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .body(Body::empty());
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let response = service.answer(request.expect("it is valid"), peer).await;
        assert!(response.headers().contains_key(X_REQUEST_ID));
        response.status().as_u16()
    }

    #[tokio::test]
    async fn a_panic_costs_one_request_only() {
        let service = service(Limits {
            in_flight: 1,
            ..Limits::default()
        });
        assert_eq!(get_status(&service, "/panics").await, 500);
        assert_eq!(get_status(&service, "/works").await, 200);
    }

    #[tokio::test]
    async fn without_a_place_nothing_is_done() {
        let service = service(Limits {
            in_flight: 0,
            ..Limits::default()
        });
        assert_eq!(get_status(&service, "/works").await, 503);
    }
}
