//! What an error of PostgreSQL means for the sink. The classes of SQLSTATE are listed in appendix A
//! of the PostgreSQL manual.

use sqlx::migrate::MigrateError;

/// Why PostgreSQL did not do what was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum PostgresFailure {
    /// A row is rejected, and would be at every attempt. Find it and dead-letter it.
    #[error("{0}")]
    Row(String),
    /// Another process has moved an offset, or an earlier attempt has succeeded after all. Read the
    /// offsets again.
    #[error("another process has moved the offsets")]
    Fenced,
    /// An operator must act. Retry slowly.
    #[error("postgres refuses: {problem}; {remedy}")]
    Refused {
        problem: String,
        remedy: &'static str,
    },
    /// The problem is temporary. Retry.
    #[error("postgres failed: {0}")]
    Passing(String),
}

// === impl PostgresFailure ===

impl PostgresFailure {
    /// The server did not answer in time.
    pub(crate) fn timed_out() -> Self {
        Self::Passing("no answer in time".to_owned())
    }

    fn of(error: &sqlx::Error) -> Self {
        let sqlx::Error::Database(refusal) = error else {
            return Self::Passing(error.to_string());
        };
        let code = refusal.code().unwrap_or_default();
        let problem = format!("{} ({code})", refusal.message());
        let refused = |remedy| Self::Refused {
            problem: problem.clone(),
            remedy,
        };
        match code.get(..2).unwrap_or_default() {
            // Data exceptions, constraints that an operator has added, and limits: an id that is
            // too long for the index, JSON that is nested too deeply.
            "22" | "23" | "54" => Self::Row(problem),
            "28" => refused("check user and password in FORMLINE_POSTGRES_URL and in pg_hba.conf"),
            "3D" => refused("create the database, or name another one in FORMLINE_POSTGRES_URL"),
            "42" if code == "42501" => {
                refused("grant the role CREATE on the database, and all rights in its schema")
            }
            "3F" | "42" => {
                refused("restore the schema to the state after the migrations of the sink")
            }
            // Connections, transaction rollbacks (40), locks (55), resources (53), shutdown and
            // start of the server (57), a server that has become a standby (25006).
            _ => Self::Passing(problem),
        }
    }
}

impl From<sqlx::Error> for PostgresFailure {
    fn from(error: sqlx::Error) -> Self {
        Self::of(&error)
    }
}

/// A migration contains no rows, so errors that elsewhere reject a row are caused by two processes
/// that migrate at the same time, and are temporary.
impl From<MigrateError> for PostgresFailure {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                match Self::of(&error) {
                    Self::Row(problem) => Self::Passing(problem),
                    failure => failure,
                }
            }
            other => Self::Refused {
                problem: other.to_string(),
                remedy: "run the version of formline that has migrated the schema, or a newer one",
            },
        }
    }
}
