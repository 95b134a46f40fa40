//! Follows the plug-in folder while the steps run: a new file is published to the steps that name it, once it has
//! passed every check. A bad one changes nothing.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use formline_core::{app::Step, schema::Schema};
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::{Catalog, Look},
    metrics::Metrics,
    plugin::{Instance, Place, Plugin},
    stores::Stores,
};

/// A step and the plug-in that its workers run.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) step: Arc<Step>,
    pub(crate) plugin: watch::Sender<Arc<Plugin>>,
}

/// Keeps the slots up to date.
#[derive(Debug)]
pub(crate) struct Watcher {
    catalog: Catalog,
    slots: Vec<Slot>,
    metrics: Metrics,
}

/// The folder is looked at this often even if the system reports nothing: it does not for some network file systems,
/// and for Kubernetes volumes it reports only that links are gone.
const LOOK: Duration = Duration::from_secs(5);

/// A file that has just changed is read when it has not changed for so long.
const SETTLE: Duration = Duration::from_millis(200);

// === impl Watcher ===

impl Watcher {
    pub(crate) fn new(catalog: Catalog, slots: Vec<Slot>, metrics: Metrics) -> Self {
        for slot in &slots {
            metrics.of(&slot.step).runs(None, &slot.plugin.borrow());
        }
        Self {
            catalog,
            slots,
            metrics,
        }
    }

    /// Follows the folder until it is told to stop. Blocks the thread.
    pub(crate) fn run(mut self, stop: &CancellationToken) {
        // One note is enough: at the bound it is there already. We keep a sender, so that waiting works without a
        // notifier as well.
        let (sender, events) = mpsc::sync_channel(1);
        let told = sender.clone();
        let notified = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading of the files is an access, and would wake us for ever.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                let _ = told.try_send(());
            }
        })
        .and_then(|mut watcher| {
            watcher.watch(self.catalog.folder(), RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        if let Err(error) = &notified {
            tracing::warn!(%error, "the plug-in folder is looked at every few seconds only");
        }
        let mut next = Instant::now() + LOOK;
        while !stop.is_cancelled() {
            // Also the pace at which `stop` is seen.
            if events.recv_timeout(SETTLE).is_ok() {
                next = Instant::now();
            }
            if Instant::now() >= next {
                let look = self.look();
                next = Instant::now() + if look.is_unsettled { SETTLE } else { LOOK };
            }
        }
        drop(sender);
    }

    fn look(&mut self) -> Look {
        let look = self.catalog.look().unwrap_or_else(|error| {
            tracing::warn!(%error, "the plug-in folder cannot be read; the steps go on with what they have");
            Look::default()
        });
        for _ in 0..look.bad {
            self.metrics.swap("bad-file");
        }
        if look.has_changed {
            self.slots.iter().for_each(|slot| self.update(slot));
        }
        look
    }

    fn update(&self, slot: &Slot) {
        let step = &slot.step;
        let name = format!("{}/{}", step.app, step.name);
        let old = Arc::clone(&slot.plugin.borrow());
        let Some(new) = self.catalog.resolve(&step.plugin) else {
            tracing::warn!(
                step = name,
                plugin = old.label,
                "the plug-in's file is gone; it runs on"
            );
            self.metrics.swap("gone");
            return;
        };
        if new.digest == old.digest {
            return;
        }
        match check(step, &new, Some(&old)) {
            Ok(()) => {
                tracing::info!(
                    step = name,
                    from = old.label,
                    to = new.label,
                    "plug-in swapped"
                );
                self.metrics.swap("swapped");
                self.metrics.of(step).runs(Some(&old), &new);
                slot.plugin.send_replace(new);
            }
            Err(problem) => {
                tracing::error!(
                    step = name,
                    plugin = new.label,
                    problem,
                    "the new plug-in does not fit; the old one runs on"
                );
                self.metrics.swap("unfit");
            }
        }
    }
}

/// Whether a step can run with this plug-in: ports, configuration, and a start on trial.
pub(crate) fn check(step: &Arc<Step>, plugin: &Plugin, old: Option<&Plugin>) -> Result<(), String> {
    let facts = &plugin.facts;
    check_ports("input", &facts.inputs, step.input.keys())?;
    check_ports("output", &facts.outputs, step.output.keys())?;
    if old.is_some_and(|old| old.facts.stores.is_empty()) && !facts.stores.is_empty() {
        return Err(
            "it keeps state, for which topics must be made; start the process anew".to_owned(),
        );
    }
    let schema = Schema::compile(facts.config_schema.clone()).map_err(|error| error.to_string())?;
    if let Some(violation) = schema.violations(&step.config).first() {
        return Err(format!(
            "config {}: {}",
            violation.pointer, violation.detail
        ));
    }
    let place = Place { step, partition: 0 };
    let started = Instance::start(plugin, place, &mut Stores::new());
    started
        .map(drop)
        .map_err(|failure| format!("it does not start: {failure}"))
}

fn check_ports<'a>(
    kind: &str,
    declared: &[String],
    bound: impl Iterator<Item = &'a String>,
) -> Result<(), String> {
    let mut bound: Vec<_> = bound.collect();
    let mut declared: Vec<_> = declared.iter().collect();
    bound.sort();
    declared.sort();
    if bound == declared {
        return Ok(());
    }
    Err(format!(
        "its {kind} ports are {declared:?}, and the step binds {bound:?}"
    ))
}
