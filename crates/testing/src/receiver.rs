//! A webhook receiver: it verifies each call with the crate standardwebhooks, and responds
//! according to a script.

use std::collections::VecDeque;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A receiver that listens on loopback until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<ReceiverState>>,
    server: JoinHandle<()>,
}

/// How to respond to a call.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// This status.
    Status(u16),
    /// 503 with `Retry-After` in seconds.
    Busy(u64),
    /// A redirect to this URL, for instance of a metadata server.
    Redirect(&'static str),
    /// This status, once [`Receiver::release`] is called.
    Held(u16),
    /// No response.
    Nothing,
}

/// A call with a valid signature.
#[derive(Clone, Debug)]
pub struct Call {
    /// The `webhook-id`.
    pub id: String,
    /// The body.
    pub body: String,
    /// The status of the response; none without a response.
    pub status: Option<u16>,
}

#[derive(Debug, Default)]
struct ReceiverState {
    calls: Vec<Call>,
    /// Replies to the next calls.
    next: VecDeque<Reply>,
    is_down: bool,
    released: Arc<Notify>,
}

// === impl Receiver ===

impl Receiver {
    /// The secret that signatures are verified with.
    pub const SECRET: &'static str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// Starts a receiver that accepts every call. A call without a valid signature gets 401.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("the listener is bound");
        let state = Arc::new(Mutex::new(ReceiverState::default()));
        let router = Router::new().fallback(receive);
        let router = router.with_state(Arc::clone(&state));
        let serve = async move { axum::serve(listener, router).await.expect("never fails") };
        Self {
            address,
            state,
            server: tokio::spawn(serve),
        }
    }

    /// The URL to call.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook?token=t0p", self.address)
    }

    /// Adds replies to the next calls, in order.
    pub fn script(&self, replies: &[Reply]) {
        lock(&self.state).next.extend(replies);
    }

    /// Responds to calls that are not in the script with 500, or accepts them again.
    pub fn be_down(&self, is_down: bool) {
        lock(&self.state).is_down = is_down;
    }

    /// Sends a held response.
    pub fn release(&self) {
        lock(&self.state).released.notify_one();
    }

    /// Every call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state).calls.clone()
    }

    /// Number of calls with this id.
    #[must_use]
    pub fn calls_about(&self, id: &str) -> usize {
        self.calls().iter().filter(|call| call.id == id).count()
    }

    /// The ids of the accepted calls, sorted.
    #[must_use]
    pub fn taken(&self) -> Vec<String> {
        let calls = self.calls().into_iter();
        let taken = calls.filter(|call| call.status == Some(200));
        let mut ids: Vec<String> = taken.map(|call| call.id).collect();
        ids.sort();
        ids
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

// === impl ReceiverState ===

impl ReceiverState {
    /// The reply to the next call.
    fn reply(&mut self) -> Reply {
        let usual = if self.is_down { 500 } else { 200 };
        self.next.pop_front().unwrap_or(Reply::Status(usual))
    }
}

// === impl Reply ===

impl Reply {
    fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) | Self::Held(status) => Some(status),
            Self::Busy(_) => Some(503),
            Self::Redirect(_) => Some(307),
            Self::Nothing => None,
        }
    }
}

async fn receive(
    State(state): State<Arc<Mutex<ReceiverState>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let webhook = Webhook::new(Receiver::SECRET).expect("the secret is base64");
    if let Err(error) = webhook.verify(&body, &headers) {
        return (StatusCode::UNAUTHORIZED, error.to_string()).into_response();
    }
    let (reply, released) = {
        let mut state = lock(&state);
        let reply = state.reply();
        state.calls.push(Call {
            id: String::from_utf8_lossy(headers["webhook-id"].as_bytes()).into_owned(),
            body: String::from_utf8_lossy(&body).into_owned(),
            status: reply.status(),
        });
        (reply, Arc::clone(&state.released))
    };
    let status = match reply.status() {
        Some(status) => StatusCode::from_u16(status).expect("tests use valid statuses"),
        None => pending().await,
    };
    if matches!(reply, Reply::Held(_)) {
        released.notified().await;
    }
    match reply {
        Reply::Busy(seconds) => (status, [(RETRY_AFTER, seconds.to_string())]).into_response(),
        Reply::Redirect(to) => (status, [(LOCATION, to)]).into_response(),
        Reply::Status(_) | Reply::Held(_) | Reply::Nothing => (status, "thanks").into_response(),
    }
}

/// Ignores poisoning: a test that has panicked has failed already.
fn lock(state: &Mutex<ReceiverState>) -> MutexGuard<'_, ReceiverState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
