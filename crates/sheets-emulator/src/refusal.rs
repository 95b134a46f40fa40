//! How the API says no: an HTTP status, Google's word for it, and a message a person can act on.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An answer in Google's error form. It is also what aborts a write transaction.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    details: Vec<Value>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// The request can never succeed as it is: 400 `INVALID_ARGUMENT`.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Requested entity was not found.")
    }

    /// A field or request kind that the API does not have, at a path as `requests[0]`.
    pub(super) fn unknown_name(name: &str, path: &str) -> Self {
        let message = format!(
            "Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field."
        );
        Self::invalid(message.clone()).with_detail(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{ "field": path, "description": message }],
        }))
    }

    /// What Google says where only the status is known; for faults and for our own failures.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let message = match status.as_u16() {
            429 => "Resource has been exhausted (e.g. check quota).",
            500 => "Internal error encountered.",
            503 => "The service is currently unavailable.",
            504 => "Deadline expired before operation could complete.",
            _ => status.canonical_reason().unwrap_or("Unknown error."),
        };
        Self::new(status, message)
    }

    pub(super) fn with_detail(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    /// Names the request of a batch that failed. A failure of ours is nobody's request: unchanged.
    pub(super) fn in_request(mut self, index: usize, kind: &str) -> Self {
        if self.status == StatusCode::BAD_REQUEST && !self.message.starts_with("Invalid JSON") {
            self.message = format!("Invalid requests[{index}].{kind}: {}", self.message);
        }
        self
    }

    /// The name of the status in google.rpc.Code.
    fn code_name(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            408 | 504 => "DEADLINE_EXCEEDED",
            409 => "ABORTED",
            429 => "RESOURCE_EXHAUSTED",
            400..=499 => "INVALID_ARGUMENT",
            501 => "UNIMPLEMENTED",
            503 => "UNAVAILABLE",
            _ => "INTERNAL",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = json!({
            "code": self.status.as_u16(),
            "message": self.message,
            "status": self.code_name(),
        });
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details);
        }
        (self.status, Json(json!({ "error": error }))).into_response()
    }
}

// === the database ===

impl Refusal {
    /// Our own failure: the client may retry, the log says what happened.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "sheets emulator failed");
        Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

macro_rules! internal_failures {
    ($($error:ty),+) => {$(
        impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                Self::internal(&error)
            }
        }
    )+};
}

internal_failures!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    tokio::task::JoinError
);
