//! Stage 2: the host that runs WebAssembly plug-ins between topics, in Kafka transactions.
//!
//! - `host` starts the steps of a process and restarts their workers after a failure.
//! - `worker` reads partitions, lets the plug-in process them, and publishes the results.
//! - `hot_swap` finds plug-in files, follows their changes, and puts new versions on trial.
//! - `authoring` is for authors of plug-ins: it inspects a file, runs its test cases, and measures
//!   it.
//! - `plugin` is the only module that knows WebAssembly.
//! - `batch` and `state` hold the events that a plug-in processes, and its stores.

mod authoring;
mod batch;
mod error;
mod host;
mod hot_swap;
mod lag;
mod metrics;
mod plugin;
mod state;
mod worker;

pub use self::{
    authoring::{Bench, Candidate, Inspector, Measurement, PluginInfo, TestCase},
    error::Error,
    host::{Options, run},
    hot_swap::{Catalog, CatalogEntry},
    metrics::register_metrics,
};
