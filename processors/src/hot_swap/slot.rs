//! A step with the plug-in that its workers run: swapping it, and returning to the former one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{app::Step, event};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    decision::{Decision, Decisions, SwapOutcome},
    score::{Score, SharedScore},
};
use crate::{
    metrics::Metrics,
    plugin::{Plugin, StoreDeclaration},
};

/// A step and the plug-in that its workers run.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(super) step: Arc<Step>,
    plugin: watch::Sender<Arc<Plugin>>,
    /// Since when this process has run the plug-in.
    since: Timestamp,
    /// The results of the plug-in, which the workers report.
    score: Arc<SharedScore>,
    probation: Option<Probation>,
    /// Digest of a plug-in that was rolled back. It is not tried again.
    rejected: Option<String>,
    decisions: Decisions,
}

/// A period in which the step returns to its former plug-in if the new one does far worse.
#[derive(Debug)]
struct Probation {
    former: Arc<Plugin>,
    score: Score,
    until: Instant,
}

/// Duration of the probation of a new plug-in.
const PROBATION: Duration = Duration::from_secs(10 * 60);

// === impl Slot ===

impl Slot {
    /// A step whose workers receive what is sent to `plugin`.
    pub(crate) fn new(
        step: Arc<Step>,
        plugin: watch::Sender<Arc<Plugin>>,
        score: Arc<SharedScore>,
    ) -> Self {
        Self {
            step,
            plugin,
            since: Timestamp::now(),
            score,
            probation: None,
            rejected: None,
            decisions: Decisions::default(),
        }
    }

    /// The plug-in that the step runs.
    pub(super) fn plugin(&self) -> Arc<Plugin> {
        Arc::clone(&self.plugin.borrow())
    }

    /// Whether the plug-in was rolled back.
    pub(super) fn has_rejected(&self, plugin: &Plugin) -> bool {
        self.rejected.as_ref() == Some(&plugin.digest)
    }

    /// Runs `new` on probation. `former` is the score of `old` for recent events.
    pub(super) fn swap(
        &mut self,
        old: &Arc<Plugin>,
        new: &Arc<Plugin>,
        former: Score,
        metrics: &Metrics,
    ) {
        tracing::info!(
            step = self.step.title(),
            from = old.label,
            to = new.label,
            "plug-in swapped"
        );
        let score = self.score.reset() + former;
        let until = Instant::now() + PROBATION;
        self.probation = Some(match self.probation.take() {
            // The replaced plug-in was on probation itself, so the one before it stays the former.
            Some(probation) => Probation { until, ..probation },
            None => Probation {
                former: Arc::clone(old),
                score,
                until,
            },
        });
        self.rejected = None;
        self.publish(new, metrics);
    }

    /// Counts and keeps a decision. The caller logs it.
    pub(super) fn decide(&mut self, metrics: &Metrics, decision: Decision) {
        metrics.swap(decision.outcome.label());
        self.decisions.note(decision);
    }

    /// The page that the admin listener shows for the step.
    pub(super) fn json(&self) -> Value {
        let plugin = self.plugin.borrow();
        let left = |probation: &Probation| {
            let left = probation.until.saturating_duration_since(Instant::now());
            event::format_time(Timestamp::now() + left)
        };
        json!({
            "step": self.step.title(),
            "plugin": plugin.label,
            "since": event::format_time(self.since),
            "probation_until": self.probation.as_ref().map(left),
            "decisions": self.decisions.json(),
        })
    }

    /// Returns to the former plug-in if the new one does far worse. True if a probation has ended.
    pub(super) fn judge(&mut self, metrics: &Metrics) -> bool {
        let score = self.score.score();
        let ended = self.probation.take_if(|probation| {
            probation.until <= Instant::now() || score.is_far_worse_than(probation.score)
        });
        let Some(probation) = ended else { return false };
        if score.is_far_worse_than(probation.score) {
            match self.check_schemas(&probation.former) {
                Ok(()) => self.roll_back(&probation.former, score, metrics),
                Err(problem) => self.keep(&probation.former, problem, metrics),
            }
        }
        true
    }

    /// Rejects a plug-in that does not support the present schema of the stores. The stores are
    /// unchanged as long as the current plug-in has completed and migrated nothing.
    pub(super) fn check_schemas(&self, other: &Plugin) -> Result<(), String> {
        let current = self.plugin.borrow();
        let stores = &other.declared.stores;
        let lowered = stores.iter().find_map(|store| {
            let same = |current: &&StoreDeclaration| current.name == store.name;
            let current = current.declared.stores.iter().find(same)?;
            (current.schema_version > store.schema_version).then_some((store, current))
        });
        match lowered {
            Some((store, current)) if !self.score.is_untouched() => Err(format!(
                "it declares schema version {} of the store {}, but the entries already have version {}",
                store.schema_version, store.name, current.schema_version
            )),
            _ => Ok(()),
        }
    }

    /// Publishes a plug-in to the workers, which change to it between two batches.
    fn publish(&mut self, new: &Arc<Plugin>, metrics: &Metrics) {
        let old = self.plugin.send_replace(Arc::clone(new));
        metrics.of(&self.step).runs(Some(&old), new);
        self.since = Timestamp::now();
    }

    /// Keeps the new plug-in although it fails far more often.
    fn keep(&mut self, former: &Plugin, problem: String, metrics: &Metrics) {
        let current = self.plugin();
        tracing::error!(
            step = self.step.title(),
            plugin = current.label,
            problem,
            "the new plug-in fails far more often, but the step cannot return to the former one"
        );
        let decision = Decision {
            outcome: SwapOutcome::Kept,
            from: Some(current.label.clone()),
            to: Some(former.label.clone()),
            problem: Some(problem),
        };
        self.decide(metrics, decision);
    }

    fn roll_back(&mut self, former: &Arc<Plugin>, score: Score, metrics: &Metrics) {
        let current = self.plugin();
        let problem = match score.events {
            0 => format!("it failed {} times and completed no event", score.failed),
            events => format!("it failed for {} of {events} events", score.failed),
        };
        tracing::error!(
            step = self.step.title(),
            plugin = current.label,
            back_to = former.label,
            problem,
            "the new plug-in fails far more often; returning to the former one"
        );
        let decision = Decision {
            outcome: SwapOutcome::RolledBack,
            from: Some(current.label.clone()),
            to: Some(former.label.clone()),
            problem: Some(problem),
        };
        self.rejected = Some(current.digest.clone());
        self.score.reset();
        self.publish(former, metrics);
        self.decide(metrics, decision);
    }
}
