//! A Google Sheets emulator: a durable server for the part of the Sheets API v4 that the sheets sink
//! uses, with Google's rules, limits, quotas and error bodies, and a page per sheet to look at.
//!
//! What differs from Google: an id that nobody has written to is an empty spreadsheet with the tab
//! `Sheet1` instead of an error, so that a fresh machine needs no manual step; requests without a token
//! are served (it is made to listen on loopback); `POST /admin/faults` makes requests fail.
//! Formulas are kept but not calculated, number formats are kept but not applied, and fields that are
//! not kept (notes, colours of tabs) are refused, never dropped in silence.

mod a1;
mod api;
mod batch;
mod cell;
mod error;
mod fault;
mod json;
mod mask;
mod metadata;
mod named_range;
mod page;
mod quota;
mod refusal;
mod server;
mod sheet;
mod spreadsheet;
mod store;
mod table;
mod token;
mod values;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use api::Api;
pub use error::Error;
use fault::Faults;
use quota::Budget;
pub use quota::Quota;
use store::Store;

const FILE: &str = "emulator.redb";

/// How to run an emulator.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder for its one file, `emulator.redb`; created if it is missing.
    pub data: PathBuf,
    /// Requests per minute and user; `None` refuses nobody.
    pub quota: Option<Quota>,
}

/// An emulator with its file open, ready to serve.
#[derive(Debug)]
pub struct Emulator {
    store: Store,
    quota: Option<Quota>,
}

impl Emulator {
    /// Opens the emulator's file, and repairs it if a crash left it open.
    ///
    /// # Errors
    /// Fails if the folder or the file cannot be used, or another emulator uses it. Blocks for as long
    /// as the disk takes.
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

    /// Serves until `shutdown` is cancelled; requests in hand are finished first, for 5 s at most.
    ///
    /// # Errors
    /// Fails if the listener has no address. What goes wrong in one request is answered there.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let origin = format!("http://{}", listener.local_addr()?);
        tracing::info!(%origin, "sheets emulator is listening");
        let api = Api {
            store: self.store,
            budget: Budget::new(self.quota),
            faults: Faults::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            origin,
        };
        server::serve(Arc::new(api), listener, shutdown).await;
        Ok(())
    }
}
