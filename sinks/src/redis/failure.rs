//! What an error of the redis crate means for who ran the script.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a script has no result.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Failure {
    /// Redis is away, is changing its master or cannot write. Retry after a pause. The script may have run.
    #[error("redis is away: {0}")]
    Away(String),
    /// Redis does not let us in, or not do this. A person must act, in Redis or here: say so, and retry after a pause.
    #[error(
        "redis does not let us in: {0}; look at its address, user and password, and at what the user may do"
    )]
    Denied(String),
    /// The script itself, or what it found, is wrong. Retrying does not help: stop.
    #[error("redis refuses: {0}")]
    Refused(String),
}

/// Errors of the server that the crate has no kind for, and that pass: too few replicas, a full disk, full memory, another
/// script that does not end.
const PASSING: [&str; 4] = ["NOREPLICAS", "MISCONF", "OOM", "BUSY"];

/// No password, and a wrong one.
const DENYING: [&str; 2] = ["NOAUTH", "WRONGPASS"];

// === impl Failure ===

impl Failure {
    pub(super) fn of(error: &RedisError) -> Self {
        let why = error.to_string();
        match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Self::Denied(why)
            }
            ErrorKind::Extension if error.code().is_some_and(|code| DENYING.contains(&code)) => {
                Self::Denied(why)
            }
            ErrorKind::Extension if error.code().is_some_and(|code| PASSING.contains(&code)) => {
                Self::Away(why)
            }
            ErrorKind::UnexpectedReturnType
            | ErrorKind::InvalidClientConfig
            | ErrorKind::Extension
            | ErrorKind::Server(
                ServerErrorKind::ResponseError
                | ServerErrorKind::ExecAbort
                | ServerErrorKind::CrossSlot,
            ) => Self::Refused(why),
            // READONLY, MASTERDOWN, LOADING, CLUSTERDOWN, and whatever befalls the connection.
            _ => Self::Away(why),
        }
    }
}
