//! Why the emulator cannot start or serve. What a request is told is a `Refusal`.

use std::path::PathBuf;

/// Why the emulator cannot start or go on. Every variant means: stop, a person must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data folder cannot be created.
    #[error("cannot create the sheets emulator's folder {path}: {source}")]
    Folder {
        /// The folder asked for.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another process holds the file.
    #[error("{path} is open in another sheets emulator: stop that one, or use another folder")]
    InUse {
        /// The file that both want.
        path: PathBuf,
    },
    /// The file cannot be opened or repaired.
    #[error("cannot open {path}: {source}; if the file is damaged, move it away and start again")]
    Database {
        /// The file.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::Error>,
    },
    /// The listener does not work.
    #[error("the sheets emulator cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

impl Error {
    pub(super) fn database(path: PathBuf, source: impl Into<redb::Error>) -> Self {
        match source.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path },
            source => Self::Database {
                path,
                source: Box::new(source),
            },
        }
    }
}
