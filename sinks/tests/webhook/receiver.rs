//! Somebody else's server: it verifies each call, and answers as it is told.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::LOCATION, header::RETRY_AFTER},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::{net::TcpListener, task::JoinHandle};

/// The secret that it knows.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A receiver that listens.
pub(crate) struct Receiver {
    pub(crate) address: std::net::SocketAddr,
    state: Arc<Mutex<Book>>,
    server: JoinHandle<()>,
}

/// How to answer a call; without an instruction it is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Status(u16),
    /// 503, and the seconds that it wants to be left alone for.
    Busy(u64),
    /// Elsewhere, for instance to a metadata server.
    Redirect(&'static str),
    /// It never comes.
    Nothing,
}

/// A call that was heard.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) body: Value,
    /// What was answered; none if nothing was.
    pub(crate) status: Option<u16>,
}

#[derive(Default)]
struct Book {
    calls: Vec<Call>,
    /// For the next calls.
    next: VecDeque<Reply>,
    is_down: bool,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(Book::default()));
        let router = Router::new().fallback(hear).with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            state,
            server,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?token=t0p", self.address)
    }

    /// The answers to the next calls.
    pub(crate) fn script(&self, replies: &[Reply]) {
        self.state.lock().unwrap().next.extend(replies);
    }

    /// Answers everything with 500, or as usual.
    pub(crate) fn be_down(&self, is_down: bool) {
        self.state.lock().unwrap().is_down = is_down;
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    pub(crate) fn calls_about(&self, id: &str) -> usize {
        self.calls().iter().filter(|call| call.id == id).count()
    }

    /// The ids of the calls that were taken.
    pub(crate) fn taken(&self) -> Vec<String> {
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

impl Book {
    fn reply(&mut self) -> Reply {
        let scripted = self.next.pop_front();
        let usual = if self.is_down { 500 } else { 200 };
        scripted.unwrap_or(Reply::Status(usual))
    }
}

async fn hear(State(state): State<Arc<Mutex<Book>>>, headers: HeaderMap, body: Bytes) -> Response {
    let webhook = Webhook::new(SECRET).unwrap();
    if let Err(error) = webhook.verify(&body, &headers) {
        return (StatusCode::UNAUTHORIZED, error.to_string()).into_response();
    }
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    let reply = {
        let mut state = state.lock().unwrap();
        let reply = state.reply();
        state.calls.push(Call {
            id,
            body: serde_json::from_slice(&body).unwrap(),
            status: reply.status(),
        });
        reply
    };
    let status = match reply.status() {
        Some(status) => StatusCode::from_u16(status).unwrap(),
        None => pending().await,
    };
    match reply {
        Reply::Busy(seconds) => (status, [(RETRY_AFTER, seconds.to_string())]).into_response(),
        Reply::Redirect(to) => (status, [(LOCATION, to)]).into_response(),
        Reply::Status(_) | Reply::Nothing => (status, "thanks").into_response(),
    }
}

impl Reply {
    fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status),
            Self::Busy(_) => Some(503),
            Self::Redirect(_) => Some(307),
            Self::Nothing => None,
        }
    }
}
