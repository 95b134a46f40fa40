//! Why an event is not accepted. Each reason rolls back what the event has sent and stored.

use std::fmt;
use std::time::Duration;

use crate::RejectKind;

/// Why an event is not accepted, and therefore what happens to it.
///
/// Details appear in dead letters and logs: describe what is wrong with a submission, but do not
/// quote it.
///
/// ```
/// # use formline_plugin_sdk::Reject;
/// let reject = Reject::violates_invariant("unknown-course", "no course has the given number");
/// assert!(reject.to_string().starts_with("dead letter: unknown-course"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reject {
    /// The event can never succeed. It becomes a dead letter, which can be replayed once the cause
    /// is fixed.
    DeadLetter {
        /// The kind of the error, for metrics.
        kind: RejectKind,
        /// A stable word for filters, such as `unknown-course`.
        code: String,
        /// A sentence for operators.
        detail: String,
    },
    /// The plug-in does not need the event. It is counted and skipped.
    Skip {
        /// A stable word for the log, such as `deletion`.
        reason: String,
    },
    /// The event may succeed later. It is retried; the events after it wait.
    RetryLater {
        /// The minimum delay, in whole milliseconds. The host shortens it to one hour.
        after: Duration,
        /// A sentence for operators.
        reason: String,
    },
}

// === impl Reject ===

impl Reject {
    /// Dead-letters an event that does not have the format that the plug-in reads.
    pub fn malformed(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::dead_letter(RejectKind::Malformed, code, detail)
    }

    /// Dead-letters an event whose format version the plug-in does not support.
    pub fn unsupported_version(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::dead_letter(RejectKind::UnsupportedVersion, code, detail)
    }

    /// Dead-letters an event that is well formed but not allowed.
    pub fn violates_invariant(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::dead_letter(RejectKind::ViolatesInvariant, code, detail)
    }

    /// Dead-letters an event that exceeds a limit, or whose results exceed one.
    pub fn too_large(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::dead_letter(RejectKind::TooLarge, code, detail)
    }

    /// Dead-letters an event for any other reason.
    pub fn other(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::dead_letter(RejectKind::Other, code, detail)
    }

    /// Skips an event.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skip {
            reason: reason.into(),
        }
    }

    /// Retries the event after a delay.
    pub fn retry_later(after: Duration, reason: impl Into<String>) -> Self {
        Self::RetryLater {
            after,
            reason: reason.into(),
        }
    }

    fn dead_letter(kind: RejectKind, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::DeadLetter {
            kind,
            code: code.into(),
            detail: detail.into(),
        }
    }

    /// serde_json's own message may quote the value, so only its category and position are used.
    pub(crate) fn bad_json(error: &serde_json::Error) -> Self {
        use serde_json::error::Category;
        let what = match error.classify() {
            Category::Syntax | Category::Io => "is not JSON",
            Category::Eof => "is incomplete JSON",
            Category::Data => "is JSON of an unexpected shape",
        };
        let (line, column) = (error.line(), error.column());
        Self::malformed(
            "malformed-json",
            format!("the value {what}, at line {line} column {column}"),
        )
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadLetter { code, detail, .. } => write!(f, "dead letter: {code}: {detail}"),
            Self::Skip { reason } => write!(f, "skipped: {reason}"),
            Self::RetryLater { after, reason } => {
                write!(f, "to be retried after {} ms: {reason}", after.as_millis())
            }
        }
    }
}

impl std::error::Error for Reject {}
