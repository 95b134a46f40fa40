//! Faults on request: what a network and a tired service do to requests, made to happen in tests. A fault is used up
//! by one request of the kind that it is for; they queue, and those of a kind are taken in order.

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

use super::refusal::Refusal;

const MAX_QUEUED: usize = 10_000;
/// A hanging request ends at last: well after any client has given up (Google: 180 s).
const HANG: Duration = Duration::from_secs(600);
const MAX_DELAY_MS: u64 = 600_000;
/// Answers are small, but for values of a large range; a larger one is cut to nothing.
const MAX_CUT_BYTES: usize = 64 << 20;
/// Lets the first half of a cut answer reach the client before the connection breaks.
const CUT_PAUSE: Duration = Duration::from_millis(20);

/// What happens to one or more requests, as `POST /admin/faults` takes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    kind: Kind,
    /// Which requests it is for.
    #[serde(default)]
    on: On,
    /// The status of `refuse` (default 503) and `apply_then_status` (default 500).
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Waits before anything else. A write then happens even if the client has gone.
    #[serde(default)]
    delay_ms: u64,
    /// How many requests it is for.
    #[serde(default = "once")]
    times: usize,
}

fn once() -> usize {
    1
}

/// The kinds of requests. People by hand meet no faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum On {
    #[default]
    Write,
    /// Spreadsheets, values and metadata.
    Read,
    /// The token endpoint.
    Token,
}

/// The kinds of faults. After `apply_…` the request is carried out, and only the answer is spoilt; one
/// that is refused by itself is answered as it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Refuse,
    ApplyThenStatus,
    /// Half of the answer, then a broken connection.
    ApplyThenCut,
    ApplyThenHang,
    /// The network delivers the request twice, and what comes back is the answer to the second.
    ApplyTwice,
    /// Nothing but the delay.
    Delay,
    /// Neither carried out nor answered.
    Hang,
}

/// The faults still to come.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<VecDeque<Fault>>);

// === impl Faults ===

impl Faults {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues faults behind those that wait, all of them or, if one makes no sense, none.
    pub(super) fn plan(&self, faults: Vec<Fault>) -> Result<(), Refusal> {
        faults.iter().try_for_each(Fault::check)?;
        let mut queue = self.queue();
        if queue.len() + faults.len() > MAX_QUEUED {
            return Err(Refusal::invalid(format!("{MAX_QUEUED} faults may wait")));
        }
        queue.extend(faults);
        Ok(())
    }

    pub(super) fn planned(&self) -> Vec<Fault> {
        self.queue().iter().cloned().collect()
    }

    pub(super) fn clear(&self) {
        self.queue().clear();
    }

    /// The fault for the request that has just arrived.
    pub(super) fn take(&self, on: On) -> Option<Fault> {
        let mut queue = self.queue();
        let place = queue.iter().position(|fault| fault.on == on)?;
        let fault = queue.get_mut(place)?;
        fault.times -= 1;
        let taken = fault.clone();
        if taken.times == 0 {
            queue.remove(place);
        }
        Some(taken)
    }
}

// === impl Fault ===

impl Fault {
    fn check(&self) -> Result<(), Refusal> {
        if self
            .status
            .is_some_and(|status| !(400..=599).contains(&status))
        {
            return Err(Refusal::invalid("Invalid fault: status must be 400 to 599"));
        }
        if self.times == 0 {
            return Err(Refusal::invalid("Invalid fault: times must be at least 1"));
        }
        if self.delay_ms > MAX_DELAY_MS || (self.kind == Kind::Delay && self.delay_ms == 0) {
            return Err(Refusal::invalid(format!(
                "Invalid fault: delay_ms must be 1 to {MAX_DELAY_MS}"
            )));
        }
        Ok(())
    }

    /// Runs a request with this fault. At `stop` whatever it is waiting for ends in a broken connection.
    pub(super) async fn run<A: Future<Output = Response>>(
        self,
        stop: CancellationToken,
        apply: impl Fn() -> A,
    ) -> Response {
        if !wait(Duration::from_millis(self.delay_ms), &stop).await {
            return broken();
        }
        if self.kind == Kind::Refuse {
            return self.refusal(StatusCode::SERVICE_UNAVAILABLE);
        }
        if self.kind == Kind::Hang {
            wait(HANG, &stop).await;
            return broken();
        }
        let answer = apply().await;
        if !answer.status().is_success() {
            return answer;
        }
        match self.kind {
            Kind::ApplyThenStatus => self.refusal(StatusCode::INTERNAL_SERVER_ERROR),
            Kind::ApplyThenCut => cut(answer).await,
            Kind::ApplyThenHang => {
                wait(HANG, &stop).await;
                broken()
            }
            Kind::ApplyTwice => apply().await,
            Kind::Refuse | Kind::Delay | Kind::Hang => answer,
        }
    }

    fn refusal(&self, default: StatusCode) -> Response {
        let status = self
            .status
            .and_then(|status| StatusCode::from_u16(status).ok());
        Refusal::of_status(status.unwrap_or(default)).into_response()
    }
}

/// `false` if the emulator stops first.
async fn wait(time: Duration, stop: &CancellationToken) -> bool {
    stop.run_until_cancelled(tokio::time::sleep(time))
        .await
        .is_some()
}

/// The right status and length, but only half of the body.
async fn cut(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let body = to_bytes(body, MAX_CUT_BYTES).await.unwrap_or_default();
    parts
        .headers
        .insert(axum::http::header::CONTENT_LENGTH, body.len().max(1).into());
    let half = body.slice(..body.len() / 2);
    Response::from_parts(parts, breaking_body(half))
}

/// An answer that says it has a body and has none: the connection breaks.
fn broken() -> Response {
    let mut answer = Response::new(breaking_body(Bytes::new()));
    answer
        .headers_mut()
        .insert(axum::http::header::CONTENT_LENGTH, 1.into());
    answer
}

fn breaking_body(first: Bytes) -> Body {
    let rest = stream::once(async {
        tokio::time::sleep(CUT_PAUSE).await;
        Err(std::io::Error::other("cut by a planned fault"))
    });
    Body::from_stream(futures::StreamExt::chain(stream::iter([Ok(first)]), rest))
}
