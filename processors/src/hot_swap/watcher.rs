//! Follows the plug-in folder while the steps run. A new file is published to the steps that name
//! its plug-in once it has passed every check and a trial; a bad file changes nothing. The admin
//! listener shows at `/plugins` what runs and what was decided.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use formline_core::{Client, Telemetry};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    admission::admit,
    catalog::{Catalog, FolderScan},
    decision::{Decision, Decisions, SwapOutcome},
    slot::Slot,
};
use crate::metrics::Metrics;

/// Keeps the plug-ins of all steps up to date.
#[derive(Debug)]
pub(crate) struct Watcher {
    catalog: Catalog,
    slots: Vec<Slot>,
    /// Decisions about files that do not contain a plug-in, so that no step uses them.
    files: Decisions,
    metrics: Metrics,
    client: Client,
    telemetry: Telemetry,
}

/// The interval at which the folder is scanned even without a notification: some network file
/// systems send none, and for Kubernetes volumes the system reports only removed links.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);

/// How long a file must be unchanged before it is read.
const SETTLE_TIME: Duration = Duration::from_millis(200);

// === impl Watcher ===

impl Watcher {
    pub(crate) fn new(
        catalog: Catalog,
        slots: Vec<Slot>,
        metrics: Metrics,
        client: Client,
        telemetry: Telemetry,
    ) -> Self {
        for slot in &slots {
            metrics.of(&slot.step).runs(None, &slot.plugin());
        }
        let watcher = Self {
            catalog,
            slots,
            files: Decisions::default(),
            metrics,
            client,
            telemetry,
        };
        watcher.show();
        watcher
    }

    fn show(&self) {
        let steps = self.slots.iter().map(Slot::json);
        let page = json!({ "steps": steps.collect::<Value>(), "files": self.files.json() });
        self.telemetry.publish("plugins", page);
    }

    /// Follows the folder until it is stopped. Blocks the thread.
    pub(crate) fn run(mut self, stop: &CancellationToken) {
        // One pending notification is enough. This function keeps a sender, so that receiving
        // blocks for the timeout even without a notifier.
        let (sender, notifications) = mpsc::sync_channel(1);
        let notifier = self.notifier(sender.clone());
        if let Err(error) = &notifier {
            tracing::warn!(%error, "no notifications for the plug-in folder; scanning it at intervals");
        }
        let mut next = Instant::now() + SCAN_INTERVAL;
        while !stop.is_cancelled() {
            // This is also the interval at which `stop` is checked.
            if notifications.recv_timeout(SETTLE_TIME).is_ok() {
                next = Instant::now();
            }
            let mut has_news = false;
            if Instant::now() >= next {
                let scan = self.scan(stop);
                let wait = if scan.is_unsettled {
                    SETTLE_TIME
                } else {
                    SCAN_INTERVAL
                };
                next = Instant::now() + wait;
                has_news = scan.has_changed || !scan.bad.is_empty();
            }
            for slot in &mut self.slots {
                has_news |= slot.judge(&self.metrics);
            }
            if has_news {
                self.show();
            }
        }
        drop(sender);
    }

    /// Sends a notification for each change of the folder, until it is dropped.
    fn notifier(&self, sender: mpsc::SyncSender<()>) -> notify::Result<RecommendedWatcher> {
        let mut notifier =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // Reading the files is an access, which would trigger scans endlessly.
                if !event.is_ok_and(|event| event.kind.is_access()) {
                    let _ = sender.try_send(());
                }
            })?;
        notifier.watch(self.catalog.folder(), RecursiveMode::NonRecursive)?;
        Ok(notifier)
    }

    fn scan(&mut self, stop: &CancellationToken) -> FolderScan {
        let scan = self.catalog.scan().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the plug-in folder; the steps keep their plug-ins");
            FolderScan::default()
        });
        for (file, problem) in &scan.bad {
            let file = file.file_name().unwrap_or_default();
            self.metrics.swap(SwapOutcome::BadFile.label());
            self.files.note(Decision {
                outcome: SwapOutcome::BadFile,
                from: None,
                to: Some(file.display().to_string()),
                problem: Some(problem.clone()),
            });
        }
        if scan.has_changed {
            for slot in &mut self.slots {
                update(slot, &self.catalog, &self.metrics, &self.client, stop);
            }
        }
        scan
    }
}

/// Swaps the plug-in of a step, if the folder has another one for it that is admitted.
fn update(
    slot: &mut Slot,
    catalog: &Catalog,
    metrics: &Metrics,
    client: &Client,
    stop: &CancellationToken,
) {
    let (name, old) = (slot.step.title(), slot.plugin());
    let Some(new) = catalog.resolve(&slot.step.plugin) else {
        tracing::warn!(
            step = name,
            plugin = old.label,
            "the plug-in's file was removed; the plug-in runs on"
        );
        let decision = Decision {
            outcome: SwapOutcome::Gone,
            from: Some(old.label.clone()),
            to: None,
            problem: None,
        };
        return slot.decide(metrics, decision);
    };
    if new.digest == old.digest || slot.has_rejected(&new) {
        return;
    }
    let admitted = admit(slot, &new, &old, client, stop);
    let decision = |outcome, problem| Decision {
        outcome,
        from: Some(old.label.clone()),
        to: Some(new.label.clone()),
        problem,
    };
    match admitted {
        Ok(former) => {
            slot.swap(&old, &new, former, metrics);
            slot.decide(metrics, decision(SwapOutcome::Swapped, None));
        }
        Err((problem, outcome)) => {
            tracing::error!(
                step = name,
                plugin = new.label,
                problem,
                "the new plug-in is rejected; the old one runs on"
            );
            slot.decide(metrics, decision(outcome, Some(problem)));
        }
    }
}
