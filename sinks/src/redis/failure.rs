//! What an error of the redis crate means for who ran the script.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a script has no result.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Failure {
    /// Redis is away, is changing its master, cannot write or does not let us in. Retry after a pause. The script may
    /// have run.
    #[error("redis is away: {0}")]
    Away(String),
    /// The script itself, or what it found, is wrong. Retrying does not help: stop.
    #[error("redis refuses: {0}")]
    Refused(String),
}

/// Errors of the server that the crate has no kind for, and that pass or that a person can change: too few replicas,
/// a full disk, full memory, another script that does not end, a wrong password.
const PASSING: [&str; 6] = [
    "NOREPLICAS",
    "MISCONF",
    "OOM",
    "BUSY",
    "NOAUTH",
    "WRONGPASS",
];

// === impl Failure ===

impl Failure {
    pub(super) fn of(error: &RedisError) -> Self {
        let is_lasting = match error.kind() {
            ErrorKind::UnexpectedReturnType
            | ErrorKind::InvalidClientConfig
            | ErrorKind::Server(
                ServerErrorKind::ResponseError
                | ServerErrorKind::ExecAbort
                | ServerErrorKind::CrossSlot,
            ) => true,
            ErrorKind::Extension => !error.code().is_some_and(|code| PASSING.contains(&code)),
            // READONLY, MASTERDOWN, LOADING, CLUSTERDOWN, NOPERM, and whatever befalls the connection.
            _ => false,
        };
        let why = error.to_string();
        if is_lasting {
            Self::Refused(why)
        } else {
            Self::Away(why)
        }
    }
}
