//! What an error of PostgreSQL means for the sink. The classes of SQLSTATE are those of the manual's appendix A.

use sqlx::migrate::MigrateError;

/// Why something was not done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Failure {
    /// A row is at fault, and would be at every attempt. Find it and park it.
    #[error("{0}")]
    Row(String),
    /// Somebody else has moved an offset, or an earlier attempt of ours has succeeded after all. Look again.
    #[error("the offsets have moved meanwhile")]
    Fenced,
    /// A person must act. Try again, slowly.
    #[error("postgres refuses: {problem}; {remedy}")]
    Refused {
        problem: String,
        remedy: &'static str,
    },
    /// It passes by itself. Try again.
    #[error("postgres does not do as asked: {0}")]
    Passing(String),
}

// === impl Failure ===

impl Failure {
    /// Nothing was heard in time.
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
            // Data exceptions, constraints that somebody has added, and limits: an id too long for the index, JSON nested
            // too deeply.
            "22" | "23" | "54" => Self::Row(problem),
            "28" => refused("check user and password in FORMLINE_POSTGRES_URL and in pg_hba.conf"),
            "3D" => refused("create the database, or name another one in FORMLINE_POSTGRES_URL"),
            "42" if code == "42501" => {
                refused("grant the role CREATE on the database, and all rights in its schema")
            }
            "3F" | "42" => refused("restore the schema as the sink's migrations have left it"),
            // Connections, transactions that lost (40), locks (55), resources (53), shutdown and start of the server (57),
            // a server that has become a standby (25006).
            _ => Self::Passing(problem),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::of(&error)
    }
}

/// No row is involved: what is the row's fault elsewhere comes of two processes that migrate at once, and passes.
impl From<MigrateError> for Failure {
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
