//! Errors of steps and of the host.

use std::{
    io,
    path::{Path, PathBuf},
};

use formline_core::kafka::{
    client::ClientError, consumer::ConsumerError, transaction::TransactionError,
};

/// Why a step, or the host as a whole, has stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder for compiled code cannot be used. Stop: an operator must fix it.
    #[error("cannot keep compiled plug-ins in {}: {source}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The plug-in folder cannot be read. Stop.
    #[error("cannot read the plug-in folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// wasmtime does not work on this machine. Stop.
    #[error("the plug-in engine does not start: {0}")]
    Engine(String),
    /// A thread could not be started. Stop.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// The cause.
        source: io::Error,
    },
    /// The plug-in of a step does not exist, or does not fit the step. Stop.
    #[error("step {step}: {problem}")]
    Plugin {
        /// `<app>/<step>`.
        step: String,
        /// What is wrong with the plug-in.
        problem: String,
    },
    /// The step's consumer failed. Stop if it was fenced, else retry with a new one.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// The step's transaction failed. Retry from the committed offsets.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// Kafka rejects a dead letter. Retry until its topic accepts it; the step waits in the
    /// meantime.
    #[error(
        "the dead-letter topic {topic} rejects a record ({source}); raise its max.message.bytes"
    )]
    DeadLetter {
        /// The topic.
        topic: String,
        /// Kafka's error.
        source: Box<TransactionError>,
    },
    /// The file with a partition's state cannot be read or written. Retry: a corrupt file has been
    /// deleted, and the state is read from Kafka.
    #[error("the state file {} failed: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<redb::Error>,
    },
    /// Kafka cannot be used. Retry, unless a setting is invalid.
    #[error(transparent)]
    Client(#[from] ClientError),
}

// === impl Error ===

impl Error {
    /// Whether a retry cannot help and an operator must act.
    pub fn is_stop(&self) -> bool {
        use ClientError as C;
        match self {
            Self::Cache { .. }
            | Self::Folder { .. }
            | Self::Engine(_)
            | Self::Thread { .. }
            | Self::Plugin { .. }
            | Self::Consumer(ConsumerError::Fenced { .. })
            | Self::Client(C::Property(_))
            | Self::Consumer(ConsumerError::Client(C::Property(_)))
            | Self::Transaction(TransactionError::Client(C::Property(_))) => true,
            Self::Consumer(_)
            | Self::Transaction(_)
            | Self::DeadLetter { .. }
            | Self::State { .. }
            | Self::Client(_) => false,
        }
    }

    pub(crate) fn state(path: &Path, source: redb::Error) -> Self {
        Self::State {
            path: path.to_owned(),
            source: Box::new(source),
        }
    }

    #[allow(clippy::needless_pass_by_value)] // the signature that `map_err` needs
    pub(crate) fn engine(error: wasmtime::Error) -> Self {
        Self::Engine(format!("{error:#}"))
    }
}
