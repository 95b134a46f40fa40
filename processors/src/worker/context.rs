//! What a worker has for the lifetime of the process.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use formline_core::{Client, app::Step, telemetry::HealthCheck};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{hot_swap::SharedScore, lag::CommittedOffsets, metrics::StepMetrics, plugin::Plugin};

/// What a worker has for the lifetime of the process. What it builds up in the meantime is its
/// `Session`.
#[derive(Debug)]
pub(crate) struct Worker {
    /// `<instance>.<number>`: the name of the group member, and the end of the transactional id.
    pub(crate) name: String,
    pub(crate) step: Arc<Step>,
    pub(crate) client: Client,
    /// Topics that can contain a submission more than once.
    pub(crate) form_topics: BTreeSet<String>,
    /// The folder of the step's state files.
    pub(crate) state: PathBuf,
    /// The plug-in to run; it changes with a swap.
    pub(crate) plugin: watch::Receiver<Arc<Plugin>>,
    pub(crate) metrics: StepMetrics,
    /// The results of the plug-in, by which a new version is judged.
    pub(crate) score: Arc<SharedScore>,
    pub(crate) committed: CommittedOffsets,
    pub(crate) part: HealthCheck,
    pub(crate) stop: CancellationToken,
}
