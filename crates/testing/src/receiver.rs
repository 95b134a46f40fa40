//! Somebody else's server, the receiver of a webhook: it verifies each call with the crate standardwebhooks, and answers
//! as it is told.

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
    book: Arc<Mutex<Book>>,
    server: JoinHandle<()>,
}

/// How to answer a call.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// This status alone.
    Status(u16),
    /// 503, and the seconds that it wants to be left alone for.
    Busy(u64),
    /// Elsewhere, for instance to a metadata server.
    Redirect(&'static str),
    /// This status, when [`Receiver::release`] is called.
    Held(u16),
    /// It never comes.
    Nothing,
}

/// A call that was heard, rightly signed.
#[derive(Clone, Debug)]
pub struct Call {
    /// The `webhook-id`.
    pub id: String,
    /// The body.
    pub body: String,
    /// What was answered; none if nothing was.
    pub status: Option<u16>,
}

#[derive(Debug, Default)]
struct Book {
    calls: Vec<Call>,
    /// For the next calls.
    next: VecDeque<Reply>,
    is_down: bool,
    released: Arc<Notify>,
}

// === impl Receiver ===

impl Receiver {
    /// The secret that it knows.
    pub const SECRET: &'static str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// Takes every call until it is told otherwise. What is not signed with its secret gets 401.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let book = Arc::new(Mutex::new(Book::default()));
        let router = Router::new().fallback(hear).with_state(Arc::clone(&book));
        let serve = async move { axum::serve(listener, router).await.expect("it serves") };
        Self {
            address,
            book,
            server: tokio::spawn(serve),
        }
    }

    /// Where it is called.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook?token=t0p", self.address)
    }

    /// How to answer the next calls, one after another.
    pub fn script(&self, replies: &[Reply]) {
        lock(&self.book).next.extend(replies);
    }

    /// Answers everything with 500, or takes it again.
    pub fn be_down(&self, is_down: bool) {
        lock(&self.book).is_down = is_down;
    }

    /// Lets the answer come that is held.
    pub fn release(&self) {
        lock(&self.book).released.notify_one();
    }

    /// Every call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.book).calls.clone()
    }

    /// How often it was called with this id.
    #[must_use]
    pub fn calls_about(&self, id: &str) -> usize {
        self.calls().iter().filter(|call| call.id == id).count()
    }

    /// The ids of the calls that it has taken, sorted.
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

// === impl Book ===

impl Book {
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

async fn hear(State(book): State<Arc<Mutex<Book>>>, headers: HeaderMap, body: Bytes) -> Response {
    let webhook = Webhook::new(Receiver::SECRET).expect("the secret is base64");
    if let Err(error) = webhook.verify(&body, &headers) {
        return (StatusCode::UNAUTHORIZED, error.to_string()).into_response();
    }
    let (reply, released) = {
        let mut book = lock(&book);
        let reply = book.reply();
        book.calls.push(Call {
            id: String::from_utf8_lossy(headers["webhook-id"].as_bytes()).into_owned(),
            body: String::from_utf8_lossy(&body).into_owned(),
            status: reply.status(),
        });
        (reply, Arc::clone(&book.released))
    };
    let status = match reply.status() {
        Some(status) => StatusCode::from_u16(status).expect("a test names a status of HTTP"),
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

/// A test that has panicked meanwhile has failed anyway.
fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
