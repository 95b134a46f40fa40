//! A worker: one thread that reads partitions of a step, lets the plug-in work on them, and publishes.

mod alarm;
mod doubt;
mod input;
mod lane;
mod migrate;
mod publish;
mod restore;
mod session;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use formline_core::{Client, app::Step, telemetry::Part};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::session::Session;
use crate::{error::Error, lag::Committed, metrics::StepMetrics, plugin::Plugin, trial::Tally};

/// What a worker is and has for as long as the process lives. What it builds up meanwhile is its `Session`.
#[derive(Debug)]
pub(crate) struct Worker {
    /// `<instance>.<number>`: the name of the member, and the end of the transactional id.
    pub(crate) name: String,
    pub(crate) step: Arc<Step>,
    pub(crate) client: Client,
    /// Topics in which a submission can stand twice.
    pub(crate) form_topics: BTreeSet<String>,
    /// The folder of the step's state files.
    pub(crate) state: PathBuf,
    /// The plug-in to run; another one after a swap.
    pub(crate) plugin: watch::Receiver<Arc<Plugin>>,
    pub(crate) metrics: StepMetrics,
    /// How the plug-in does, by which a new one is judged.
    pub(crate) tally: Arc<Tally>,
    pub(crate) committed: Committed,
    pub(crate) part: Part,
    pub(crate) stop: CancellationToken,
}

// === impl Worker ===

impl Worker {
    /// Works until it is told to stop, or until something fails that costs the membership. Blocks the thread.
    pub(crate) fn run(&self) -> Result<(), Error> {
        let mut session = Session::open(self)?;
        let mut result = session.run();
        while let Err(error) = result {
            result = session.recover(error);
            if result.is_err() {
                break;
            }
            result = session.run();
        }
        session.revoke();
        result
    }
}
