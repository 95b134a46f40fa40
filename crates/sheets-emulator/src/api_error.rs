//! An error response of the API: an HTTP status, the name of its code in `google.rpc.Code`, and a
//! message.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An error in Google's format. Returning it aborts a write transaction.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    details: Vec<Value>,
}

// === impl ApiError ===

impl ApiError {
    /// An error with this status and message.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// 400 `INVALID_ARGUMENT`: the request is not valid, and retrying it cannot succeed.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404 `NOT_FOUND`.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Requested entity was not found.")
    }

    /// A field or kind of request that does not exist, at a path such as `requests[0]`.
    pub(crate) fn unknown_name(name: &str, path: &str) -> Self {
        let message = format!(
            "Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field."
        );
        Self::invalid(message.clone()).with_detail(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{ "field": path, "description": message }],
        }))
    }

    /// The error that Google returns with this status, for planned faults and internal failures.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let message = match status.as_u16() {
            429 => "Resource has been exhausted (e.g. check quota).",
            500 => "Internal error encountered.",
            503 => "The service is currently unavailable.",
            504 => "Deadline expired before operation could complete.",
            _ => status.canonical_reason().unwrap_or("Unknown error."),
        };
        Self::new(status, message)
    }

    /// Adds an entry to `details`.
    pub(crate) fn with_detail(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    /// Adds the request of a batch that caused the error. Internal failures are not changed.
    pub(crate) fn in_request(mut self, index: usize, kind: &str) -> Self {
        if self.status == StatusCode::BAD_REQUEST && !self.message.starts_with("Invalid JSON") {
            self.message = format!("Invalid requests[{index}].{kind}: {}", self.message);
        }
        self
    }

    /// 500 `INTERNAL`: logs the error. The client may retry.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "sheets emulator failed to handle a request");
        Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The name of the code in `google.rpc.Code`.
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

impl IntoResponse for ApiError {
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

macro_rules! internal_failures {
    ($($error:ty),+) => {$(
        impl From<$error> for ApiError {
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
