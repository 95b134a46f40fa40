//! STAGE 2: the host that runs WebAssembly plug-ins between topics, in transactions.
//!
//! `host` starts everything; a `worker` reads, works and publishes; `plugin` is all that knows WebAssembly; `batch` and
//! `state` are what both of them hold; `catalog` and `watcher` find plug-in files and follow their changes, and `trial`
//! judges them, and `decision` keeps what came of it; `workbench` is for their authors, `case` runs a test of theirs,
//! and `treadmill` measures what an event costs.

mod batch;
mod case;
mod catalog;
mod decision;
mod error;
mod host;
mod lag;
mod metrics;
mod plugin;
mod state;
mod treadmill;
mod trial;
mod watcher;
mod workbench;
mod worker;

pub use self::{
    case::Case,
    catalog::{Catalog, Listed},
    error::Error,
    host::{Options, run},
    treadmill::{Lap, Treadmill},
    workbench::{Candidate, Inspected, Workbench},
};
