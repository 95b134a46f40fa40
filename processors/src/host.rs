//! Starts the steps of a process and keeps their workers running.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{
    Client, Shutdown, Telemetry,
    app::{Plugins as _, Step},
    retry::Backoff,
    telemetry::HealthCheck,
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    hot_swap::{self, Catalog, SharedScore, Slot, Watcher},
    lag::{self, CommittedOffsets},
    metrics::Metrics,
    plugin::Plugin,
    state,
    worker::{self, Worker},
};

/// What the host needs in addition to the steps.
#[derive(Clone, Debug)]
pub struct Options {
    /// How to reach Kafka.
    pub client: Client,
    /// The folder of plug-in files, which is only read.
    pub plugins: PathBuf,
    /// The folder for compiled code, private to the process's user. It can be deleted at any time.
    pub cache: PathBuf,
    /// The folder for copies of the steps' state, private to the process. It can be deleted while
    /// the process is stopped.
    pub state: PathBuf,
    /// The name of this process. It must be stable across restarts and unique, because it is part
    /// of the names of group members and of transactional ids.
    pub instance: String,
    /// Topics that forms write to. Only these can contain a submission more than once.
    pub form_topics: BTreeSet<String>,
    /// Receives metrics and readiness.
    pub telemetry: Telemetry,
}

/// After this uptime the next restart of a worker starts with the shortest delay again. Equal to
/// the longest delay.
const HEALTHY: Duration = Duration::from_secs(10);

/// Runs the steps until the shutdown begins, then lets each worker finish its batch.
///
/// The workers' parts are registered before this function returns, not when the future first runs;
/// otherwise the process could be considered ready before its workers are.
///
/// # Errors
/// If an operator must act ([`Error::is_stop`]). Everything else is retried indefinitely.
pub fn run(
    options: Options,
    steps: Vec<Arc<Step>>,
    shutdown: Shutdown,
) -> impl Future<Output = Result<(), Error>> + Send {
    let part = |step: &Step, number| options.telemetry.startup_check(part_name(step, number));
    let parts = steps.iter().map(|step| {
        let of_step = (0..step.workers).map(|number| part(step, number));
        of_step.collect()
    });
    let parts = parts.collect();
    host(options, steps, parts, shutdown)
}

async fn host(
    options: Options,
    steps: Vec<Arc<Step>>,
    parts: Vec<Vec<HealthCheck>>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let (folder, cache, asked) = (
        options.plugins.clone(),
        options.cache.clone(),
        steps.clone(),
    );
    let found = tokio::task::spawn_blocking(move || find_plugins(&folder, &cache, &asked)).await;
    let (catalog, plugins) = found.expect("reading plug-ins does not panic")?;
    let old_files = options.state.clone();
    shutdown.spawn_blocking(move || state::delete_unused(&old_files));
    let metrics = Metrics::register(&options.telemetry);
    let stop = shutdown.token().child_token();
    let (mut slots, mut lags, mut running) = (Vec::new(), Vec::new(), JoinSet::new());
    for ((step, plugin), parts) in steps.into_iter().zip(plugins).zip(parts) {
        tracing::info!(
            step = step.title(),
            plugin = plugin.label,
            "starting the step"
        );
        let (sender, receiver) = watch::channel(plugin);
        let (committed, score) = (CommittedOffsets::default(), Arc::<SharedScore>::default());
        for (number, part) in parts.into_iter().enumerate() {
            let worker = Worker {
                name: format!("{}.{number}", options.instance),
                step: Arc::clone(&step),
                client: options.client.clone(),
                form_topics: options.form_topics.clone(),
                state: options.state.join(format!("{}.{}", step.app, step.name)),
                plugin: receiver.clone(),
                metrics: metrics.of(&step),
                score: Arc::clone(&score),
                committed: committed.clone(),
                part,
                stop: stop.clone(),
            };
            running.spawn(supervise(Arc::new(worker), shutdown.clone()));
        }
        slots.push(Slot::new(Arc::clone(&step), sender, score));
        lags.push((step, committed));
    }
    let (client, telemetry) = (options.client.clone(), options.telemetry.clone());
    let watcher = Watcher::new(catalog, slots, metrics.clone(), client, telemetry);
    let watching = stop.clone();
    shutdown.spawn_blocking(move || watcher.run(&watching));
    shutdown.spawn(lag::report(options.client, lags, metrics, stop.clone()));
    let result = wait(running, &stop).await;
    if result.is_ok() {
        shutdown.begun().await;
    }
    stop.cancel();
    result
}

/// Opens the folder, and resolves the plug-in of each step.
fn find_plugins(
    folder: &Path,
    cache: &Path,
    steps: &[Arc<Step>],
) -> Result<(Catalog, Vec<Arc<Plugin>>), Error> {
    let catalog = Catalog::open(folder, cache)?;
    let mut plugins = Vec::with_capacity(steps.len());
    for step in steps {
        let failed = |problem| Error::Plugin {
            step: step.title(),
            problem,
        };
        let plugin = catalog.resolve(&step.plugin);
        let plugin = plugin.ok_or_else(|| failed(missing(&catalog, &step.plugin)))?;
        hot_swap::check(step, &plugin, None).map_err(failed)?;
        plugins.push(plugin);
    }
    Ok((catalog, plugins))
}

fn missing(catalog: &Catalog, reference: &str) -> String {
    let folder = catalog.folder().display();
    match catalog.names() {
        names if names.is_empty() => {
            format!("there is no plug-in in {folder}; copy {reference} to it")
        }
        names => format!(
            "there is no plug-in `{reference}` in {folder}; there are {}",
            names.join(", ")
        ),
    }
}

fn part_name(step: &Step, number: usize) -> String {
    match step.workers {
        1 => format!("step {}", step.title()),
        _ => format!("step {} worker {number}", step.title()),
    }
}

/// Waits for all workers. If one of them fails for good, the others are stopped as well, so that
/// the process never runs only a part of its steps.
async fn wait(
    mut running: JoinSet<Result<(), Error>>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let mut result = Ok(());
    while let Some(ended) = running.join_next().await {
        let ended = ended.expect("`supervise` does not panic");
        if ended.is_err() {
            stop.cancel();
            result = result.and(ended);
        }
    }
    result
}

/// Restarts a worker until it is stopped. Each run starts from the committed offsets, so a failure,
/// even a panic of the host, costs only time.
async fn supervise(worker: Arc<Worker>, shutdown: Shutdown) -> Result<(), Error> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        let (running, started) = (Arc::clone(&worker), Instant::now());
        // The shutdown tracks this task, and waits until the current batch is committed.
        let ended = shutdown.spawn_blocking(move || worker::run(&running)).await;
        let step = worker.step.title();
        let problem = match ended {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if error.is_stop() => {
                tracing::error!(step, %error, "the step stops because of an error");
                worker.part.waiting(error.to_string());
                return Err(error);
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        if started.elapsed() >= HEALTHY {
            backoff.reset();
        }
        let delay = backoff.delay();
        tracing::warn!(
            step,
            problem,
            ?delay,
            "restarting the step from the committed offsets"
        );
        worker.part.waiting(problem);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = worker.stop.cancelled() => return Ok(()),
        }
    }
}
