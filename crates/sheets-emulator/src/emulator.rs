//! The emulator as a library: open its file, then serve.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::error::Error;
use crate::fault::Faults;
use crate::quota::{Quota, QuotaCounter};
use crate::server;
use crate::store::Store;

/// The name of the file in the data folder.
const FILE: &str = "emulator.redb";

/// How to run an emulator.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of its only file, `emulator.redb`; created if it does not exist.
    pub data: PathBuf,
    /// Requests per minute and user; `None` means no limit.
    pub quota: Option<Quota>,
}

/// An emulator whose file is open, ready to serve.
#[derive(Debug)]
pub struct Emulator {
    store: Store,
    quota: Option<Quota>,
}

// === impl Emulator ===

impl Emulator {
    /// Opens the emulator's file, and repairs it after a crash. Blocks on disk I/O.
    ///
    /// # Errors
    ///
    /// If the folder or the file cannot be used, or another emulator uses the file.
    pub fn open(options: Options) -> Result<Self, Error> {
        let Options { data, quota } = options;
        if let Err(source) = std::fs::create_dir_all(&data) {
            return Err(Error::Folder { path: data, source });
        }
        Ok(Self {
            store: Store::open(&data.join(FILE))?,
            quota,
        })
    }

    /// Serves until `shutdown` is cancelled. Requests in flight then have 5 s to finish.
    ///
    /// # Errors
    ///
    /// If the listener has no local address. An error of a single request becomes its response.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let origin = format!("http://{}", listener.local_addr()?);
        tracing::info!(%origin, "sheets emulator is listening");
        let api = Api {
            store: self.store,
            quota: QuotaCounter::new(self.quota),
            faults: Faults::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            origin,
        };
        server::serve(Arc::new(api), listener, shutdown).await;
        Ok(())
    }
}
