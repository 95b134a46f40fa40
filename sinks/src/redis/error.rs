//! What an error of the redis crate means for the caller of a script.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a script has no result.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ScriptError {
    /// Redis is unavailable, is changing its master or cannot write. Retry after a delay. The
    /// script may have run.
    #[error("redis is unavailable: {0}")]
    Unavailable(String),
    /// Redis denies access, or denies this script. An operator must act, in Redis or here: report
    /// it, and retry after a delay.
    #[error(
        "redis denies access: {0}; check its address, user, password and the permissions of the user"
    )]
    Denied(String),
    /// The script itself, or the data that it found, is wrong. Retrying does not help: stop.
    #[error("redis rejects a script: {0}")]
    Rejected(String),
}

/// Errors that have no kind in the crate and that are temporary: too few replicas, a full disk,
/// full memory, another script that does not end.
const TEMPORARY: [&str; 4] = ["NOREPLICAS", "MISCONF", "OOM", "BUSY"];

/// A missing password and a wrong one.
const DENIED: [&str; 2] = ["NOAUTH", "WRONGPASS"];

// === impl ScriptError ===

impl ScriptError {
    pub(super) fn of(error: &RedisError) -> Self {
        let why = error.to_string();
        match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Self::Denied(why)
            }
            ErrorKind::Extension if error.code().is_some_and(|code| DENIED.contains(&code)) => {
                Self::Denied(why)
            }
            ErrorKind::Extension if error.code().is_some_and(|code| TEMPORARY.contains(&code)) => {
                Self::Unavailable(why)
            }
            ErrorKind::UnexpectedReturnType
            | ErrorKind::InvalidClientConfig
            | ErrorKind::Extension
            | ErrorKind::Server(
                ServerErrorKind::ResponseError
                | ServerErrorKind::ExecAbort
                | ServerErrorKind::CrossSlot,
            ) => Self::Rejected(why),
            // READONLY, MASTERDOWN, LOADING, CLUSTERDOWN, and all errors of the connection.
            _ => Self::Unavailable(why),
        }
    }
}
