//! Fault injection for tests: planned failures of the network and the service. Faults queue, and
//! each request takes the first fault for its kind.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::api_error::ApiError;

/// Maximum number of queued faults.
const MAX_QUEUED: usize = 10_000;
/// How long a request hangs, which is longer than the timeout of any client (Google: 180 s).
const HANG: Duration = Duration::from_secs(600);
/// Maximum delay of a request in milliseconds.
const MAX_DELAY_MS: u64 = 600_000;
/// Maximum size of a response that is cut in half; a larger one is cut completely.
const MAX_CUT_BYTES: usize = 64 << 20;
/// Lets the first half of a cut response reach the client before the connection breaks.
const CUT_PAUSE: Duration = Duration::from_millis(20);

/// A fault for one or more requests, as in the body of `POST /admin/faults`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    kind: FaultKind,
    /// The kind of requests that it applies to.
    #[serde(default)]
    on: RequestKind,
    /// The status of `refuse` (default 503) and of `apply_then_status` (default 500).
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Delay before the request is handled. A write is then applied even if the client has
    /// disconnected.
    #[serde(default)]
    delay_ms: u64,
    /// The number of requests that it applies to.
    #[serde(default = "once")]
    times: usize,
}

fn once() -> usize {
    1
}

/// The kinds of requests. Faults do not apply to manual edits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RequestKind {
    #[default]
    Write,
    /// Spreadsheets, values and metadata.
    Read,
    /// The token endpoint.
    Token,
}

/// The kinds of faults. With `apply_…`, the request is executed and only its response is affected;
/// the response to a request that fails is not affected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FaultKind {
    Refuse,
    ApplyThenStatus,
    /// Half of the response, then a broken connection.
    ApplyThenCut,
    ApplyThenHang,
    /// The request is executed twice, as if the network had delivered it twice; the client gets the
    /// second response.
    ApplyTwice,
    /// Only the delay.
    Delay,
    /// The request is not executed and gets no response.
    Hang,
}

/// The queue of planned faults.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<VecDeque<Fault>>);

// === impl Faults ===

impl Faults {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends faults to the queue: all of them or, if one is not valid, none.
    pub(crate) fn plan(&self, faults: Vec<Fault>) -> Result<(), ApiError> {
        faults.iter().try_for_each(Fault::check)?;
        let mut queue = self.queue();
        if queue.len() + faults.len() > MAX_QUEUED {
            return Err(ApiError::invalid(format!(
                "At most {MAX_QUEUED} faults may be planned"
            )));
        }
        queue.extend(faults);
        Ok(())
    }

    /// All planned faults in order.
    pub(crate) fn planned(&self) -> Vec<Fault> {
        self.queue().iter().cloned().collect()
    }

    /// Removes all planned faults.
    pub(crate) fn clear(&self) {
        self.queue().clear();
    }

    /// Takes the next fault for a request of this kind.
    pub(crate) fn take(&self, kind: RequestKind) -> Option<Fault> {
        let mut queue = self.queue();
        let position = queue.iter().position(|fault| fault.on == kind)?;
        let fault = queue.get_mut(position)?;
        fault.times -= 1;
        let taken = fault.clone();
        if taken.times == 0 {
            queue.remove(position);
        }
        Some(taken)
    }
}

// === impl Fault ===

impl Fault {
    fn check(&self) -> Result<(), ApiError> {
        if self
            .status
            .is_some_and(|status| !(400..=599).contains(&status))
        {
            return Err(ApiError::invalid(
                "Invalid fault: status must be 400 to 599",
            ));
        }
        if self.times == 0 {
            return Err(ApiError::invalid("Invalid fault: times must be at least 1"));
        }
        if self.delay_ms > MAX_DELAY_MS || (self.kind == FaultKind::Delay && self.delay_ms == 0) {
            return Err(ApiError::invalid(format!(
                "Invalid fault: delay_ms must be 1 to {MAX_DELAY_MS}"
            )));
        }
        Ok(())
    }

    /// Runs a request with this fault. When `stop` is cancelled, a waiting request ends with a
    /// broken connection.
    pub(crate) async fn run<A: Future<Output = Response>>(
        self,
        stop: CancellationToken,
        apply: impl Fn() -> A,
    ) -> Response {
        if !wait(Duration::from_millis(self.delay_ms), &stop).await {
            return broken();
        }
        if self.kind == FaultKind::Refuse {
            return self.error(StatusCode::SERVICE_UNAVAILABLE);
        }
        if self.kind == FaultKind::Hang {
            wait(HANG, &stop).await;
            return broken();
        }
        let response = apply().await;
        if !response.status().is_success() {
            return response;
        }
        match self.kind {
            FaultKind::ApplyThenStatus => self.error(StatusCode::INTERNAL_SERVER_ERROR),
            FaultKind::ApplyThenCut => cut(response).await,
            FaultKind::ApplyThenHang => {
                wait(HANG, &stop).await;
                broken()
            }
            FaultKind::ApplyTwice => apply().await,
            FaultKind::Refuse | FaultKind::Delay | FaultKind::Hang => response,
        }
    }

    fn error(&self, default: StatusCode) -> Response {
        let status = self
            .status
            .and_then(|status| StatusCode::from_u16(status).ok());
        ApiError::of_status(status.unwrap_or(default)).into_response()
    }
}

/// Waits; returns `false` if the emulator stops first.
async fn wait(time: Duration, stop: &CancellationToken) -> bool {
    stop.run_until_cancelled(tokio::time::sleep(time))
        .await
        .is_some()
}

/// A response with the correct status and length, but only half of the body.
async fn cut(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_CUT_BYTES).await.unwrap_or_default();
    parts
        .headers
        .insert(axum::http::header::CONTENT_LENGTH, body.len().max(1).into());
    let half = body.slice(..body.len() / 2);
    Response::from_parts(parts, breaking_body(half))
}

/// A response that declares a body but breaks the connection instead of sending it.
fn broken() -> Response {
    let mut response = Response::new(breaking_body(Bytes::new()));
    response
        .headers_mut()
        .insert(axum::http::header::CONTENT_LENGTH, 1.into());
    response
}

fn breaking_body(first: Bytes) -> Body {
    let rest = stream::once(async {
        tokio::time::sleep(CUT_PAUSE).await;
        Err(std::io::Error::other(
            "connection broken by a planned fault",
        ))
    });
    Body::from_stream(futures::StreamExt::chain(stream::iter([Ok(first)]), rest))
}
