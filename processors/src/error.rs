//! Why steps cannot run.

use std::{
    io,
    path::{Path, PathBuf},
};

use formline_core::{client, consumer, transaction};

/// Why a step, or the host as a whole, has stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder for compiled code is not fit for it. Stop: only the operator can mend it.
    #[error("cannot keep compiled plug-ins in {}: {source}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The plug-in folder cannot be read. Stop.
    #[error("cannot read the plug-in folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// wasmtime does not work on this machine. Stop.
    #[error("the plug-in engine does not start: {0}")]
    Engine(String),
    /// A thread could not be started. Stop.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// The system's reason.
        source: io::Error,
    },
    /// The plug-in of a step is not there or does not fit. Stop.
    #[error("step {step}: {problem}")]
    Plugin {
        /// `<app>/<step>`.
        step: String,
        /// What is wrong.
        problem: String,
    },
    /// The step's consumer failed. Stop if it was fenced, else retry with a new one.
    #[error(transparent)]
    Consumer(#[from] consumer::Error),
    /// The step's transaction failed. Retry from the committed offsets.
    #[error(transparent)]
    Transaction(#[from] transaction::Error),
    /// A dead letter cannot be parked. Retry until its topic takes it; the step waits at it meanwhile.
    #[error(
        "the dead-letter topic {topic} does not take a record ({source}); raise its max.message.bytes"
    )]
    DeadLetter {
        /// The topic.
        topic: String,
        /// What Kafka says.
        source: Box<transaction::Error>,
    },
    /// The file with a partition's state cannot be read or written. Retry: if it is at fault it was deleted, and the state
    /// comes from Kafka.
    #[error("the state file {} fails: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<redb::Error>,
    },
    /// Kafka cannot be used. Retry, unless a setting is wrong.
    #[error(transparent)]
    Client(#[from] client::Error),
}

// === impl Error ===

impl Error {
    /// Whether trying again is of no use: an operator has to mend it.
    pub fn is_stop(&self) -> bool {
        use client::Error as C;
        match self {
            Self::Cache { .. }
            | Self::Folder { .. }
            | Self::Engine(_)
            | Self::Thread { .. }
            | Self::Plugin { .. }
            | Self::Consumer(consumer::Error::Fenced { .. })
            | Self::Client(C::Property(_))
            | Self::Consumer(consumer::Error::Client(C::Property(_)))
            | Self::Transaction(transaction::Error::Client(C::Property(_))) => true,
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

    #[allow(clippy::needless_pass_by_value)] // it is what `map_err` gives
    pub(crate) fn engine(error: wasmtime::Error) -> Self {
        Self::Engine(format!("{error:#}"))
    }
}
