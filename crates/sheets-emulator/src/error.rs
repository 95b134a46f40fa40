//! Errors of the emulator as a whole; an error of a single request is an `ApiError`.

use std::path::PathBuf;

/// Why the emulator cannot start or serve. Stop: an operator must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data folder cannot be created.
    #[error("failed to create the data folder {path} of the sheets emulator: {source}")]
    Folder {
        /// The data folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Another process has the file open.
    #[error("{path} is in use by another sheets emulator; stop it, or use another data folder")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened or repaired.
    #[error("failed to open {path}: {source}; if the file is damaged, move it away and restart")]
    Database {
        /// The file.
        path: PathBuf,
        /// The error of the database.
        source: Box<redb::Error>,
    },
    /// The address of the listener is not available.
    #[error("the listener of the sheets emulator failed: {0}")]
    Listen(#[from] std::io::Error),
}

// === impl Error ===

impl Error {
    /// Classifies an error of the database.
    pub(crate) fn database(path: PathBuf, source: impl Into<redb::Error>) -> Self {
        match source.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path },
            source => Self::Database {
                path,
                source: Box::new(source),
            },
        }
    }
}
