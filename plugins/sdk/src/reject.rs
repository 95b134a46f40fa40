//! The ways in which an event can fail to pass. Each takes back what the event has sent and stored.

use std::fmt;
use std::time::Duration;

use crate::RejectKind;

/// Why an event did not pass, and so what becomes of it.
///
/// Details reach dead letters and logs: say what is wrong with a submission, never what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reject {
    /// It can never succeed: parked as a dead letter, to be replayed once the cause is mended.
    DeadLetter {
        /// What sort of mistake it is, for metrics.
        kind: RejectKind,
        /// A stable word for filters, such as `unknown-course`.
        code: String,
        /// A sentence for a person.
        detail: String,
    },
    /// It is of no concern to this plug-in: counted and passed over.
    Skip {
        /// A stable word for metrics, such as `deletion`.
        reason: String,
    },
    /// It may succeed later: this event and those behind it wait.
    RetryLater {
        /// How long at least; milliseconds count, and 49 days are the most.
        after: Duration,
        /// A sentence for a person.
        reason: String,
    },
}

// === impl Reject ===

impl Reject {
    /// Parks an event that is not of the form that the plug-in reads.
    pub fn malformed(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::dead_letter(RejectKind::Malformed, code, detail)
    }

    /// Parks an event whose format is newer or older than the plug-in.
    pub fn unsupported_version(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::dead_letter(RejectKind::UnsupportedVersion, code, detail)
    }

    /// Parks an event that is well formed but must not be.
    pub fn violates_invariant(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::dead_letter(RejectKind::ViolatesInvariant, code, detail)
    }

    /// Parks an event that is, or that leads to something, above a limit.
    pub fn too_large(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::dead_letter(RejectKind::TooLarge, code, detail)
    }

    /// Parks an event for a reason of another kind.
    pub fn other(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::dead_letter(RejectKind::Other, code, detail)
    }

    /// Passes over an event.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skip {
            reason: reason.into(),
        }
    }

    /// Tries the event again after a while.
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

    /// serde_json's own message can quote the value, so only its class and place are kept.
    pub(crate) fn bad_json(error: &serde_json::Error) -> Self {
        use serde_json::error::Category;
        let what = match error.classify() {
            Category::Syntax | Category::Io => "is not JSON",
            Category::Eof => "is JSON that breaks off",
            Category::Data => "is JSON of another shape than expected",
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
