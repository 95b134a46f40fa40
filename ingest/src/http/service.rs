//! What applies to every request, whatever its path: a request id, the limit of concurrent
//! requests, a guard against panics, security headers and metrics. It is one function instead of a
//! stack of tower layers, because each layer costs every submission one or two allocations.

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
    problem::{Problem, ProblemKind},
    request_id::{RequestId, X_REQUEST_ID},
};

/// Handles the requests of all connections.
#[derive(Debug)]
pub(crate) struct Service {
    router: Router,
    metrics: Metrics,
    limits: Limits,
    in_flight: Arc<AtomicUsize>,
}

/// Counts a request as in flight until it is dropped.
struct Permit<'a>(&'a AtomicUsize);

/// Maximum length of path and query, in bytes.
const MAX_URI_BYTES: usize = 8 << 10;

// === impl Service ===

impl Service {
    /// Serves the routes of `router`; `in_flight` receives the number of requests in flight.
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

    /// Handles one request. Never fails: every error becomes a problem response.
    pub(crate) async fn handle<B>(&self, request: Request<B>, peer: SocketAddr) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let started = Instant::now();
        let durations = self.metrics.durations(request.uri().path());
        let method = request.method().clone();
        let id = RequestId::from_headers(request.headers());
        let mut response = self.admit_and_route(request, peer).await;
        Problem::render(&mut response, &id, &method);
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, id.header());
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        durations.observe(&method, response.status(), started.elapsed());
        response
    }

    async fn admit_and_route<B>(&self, request: Request<B>, peer: SocketAddr) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let _permit = match self.admit(&request) {
            Ok(permit) => permit,
            Err(problem) => return problem.into_response(),
        };
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let routed = AssertUnwindSafe(self.router.clone().call(request)).catch_unwind();
        match routed.await {
            Ok(response) => response.into_response(),
            // The panic hook has logged the location; other requests continue.
            Err(_panic) => Problem::new(
                ProblemKind::Internal,
                "report the request id to the operator, who finds the cause in the log",
            )
            .with_cause(&"the request panicked")
            .into_response(),
        }
    }

    fn admit<B>(&self, request: &Request<B>) -> Result<Permit<'_>, Problem> {
        let permit = Permit(&self.in_flight);
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.limits.in_flight {
            return Err(Problem::new(
                ProblemKind::Overloaded,
                "the request was not read; send it again",
            ));
        }
        if request
            .uri()
            .path_and_query()
            .is_some_and(|uri| uri.as_str().len() > MAX_URI_BYTES)
        {
            return Err(Problem::new(
                ProblemKind::UriTooLong,
                "send a shorter path and query",
            ));
        }
        if header_bytes(request.headers()) > self.limits.header_bytes {
            let detail = format!("send at most {} bytes of headers", self.limits.header_bytes);
            return Err(Problem::new(ProblemKind::HeadersTooLarge, detail));
        }
        Ok(permit)
    }
}

impl Drop for Permit<'_> {
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
    use formline_core::Telemetry;

    use super::*;

    async fn panics() -> &'static str {
        panic!("a bug in a handler");
    }

    fn service(limits: Limits) -> Service {
        let metrics = Metrics::new(&Telemetry::default(), || 0);
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
        let response = service
            .handle(request.expect("a valid request"), peer)
            .await;
        assert!(response.headers().contains_key(X_REQUEST_ID));
        response.status().as_u16()
    }

    #[tokio::test]
    async fn a_panic_fails_only_its_request() {
        let service = service(Limits {
            in_flight: 1,
            ..Limits::default()
        });
        assert_eq!(get_status(&service, "/panics").await, 500);
        assert_eq!(get_status(&service, "/works").await, 200);
    }

    #[tokio::test]
    async fn above_the_limit_requests_are_rejected() {
        let service = service(Limits {
            in_flight: 0,
            ..Limits::default()
        });
        assert_eq!(get_status(&service, "/works").await, 503);
    }
}
