//! Follows the plug-in folder while the steps run: a new file is published to the steps that name it, once it has
//! passed every check and a trial. A bad one changes nothing, and one that turns out to be bad is taken back. The admin
//! listener shows at `/plugins` what runs and what was decided.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use formline_core::{Client, Telemetry, app::Step, event, schema::Schema};
use jiff::Timestamp;
use notify::{RecursiveMode, Watcher as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::{Catalog, Look},
    decision::{Decision, Decisions, Outcome},
    metrics::Metrics,
    plugin::{Instance, Place, Plugin, StoreDeclaration},
    state::Stores,
    trial::{Sample, Score, Tally},
};

/// A step and the plug-in that its workers run.
#[derive(Debug)]
pub(crate) struct Slot {
    step: Arc<Step>,
    plugin: watch::Sender<Arc<Plugin>>,
    /// Since when it runs here.
    since: Timestamp,
    /// What the workers say of the plug-in.
    tally: Arc<Tally>,
    probation: Option<Probation>,
    /// Digest of a plug-in that was tried and found far worse. It is not tried again.
    rejected: Option<String>,
    decisions: Decisions,
}

/// A time in which the step returns to its former plug-in if the new one does far worse.
#[derive(Debug)]
struct Probation {
    former: Arc<Plugin>,
    score: Score,
    until: Instant,
}

/// Keeps the slots up to date.
#[derive(Debug)]
pub(crate) struct Watcher {
    catalog: Catalog,
    slots: Vec<Slot>,
    /// About files in which there is no plug-in, so that nobody knows whose they are.
    files: Decisions,
    metrics: Metrics,
    client: Client,
    telemetry: Telemetry,
}

/// The folder is looked at this often even if the system reports nothing: it does not for some network file systems,
/// and for Kubernetes volumes it reports only that links are gone.
const LOOK: Duration = Duration::from_secs(5);

/// A file that has just changed is read when it has not changed for so long.
const SETTLE: Duration = Duration::from_millis(200);

/// How long a new plug-in is on probation.
const PROBATION: Duration = Duration::from_secs(10 * 60);

// === impl Slot ===

impl Slot {
    /// A step whose workers receive what is sent to `plugin`.
    pub(crate) fn new(
        step: Arc<Step>,
        plugin: watch::Sender<Arc<Plugin>>,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            step,
            plugin,
            since: Timestamp::now(),
            tally,
            probation: None,
            rejected: None,
            decisions: Decisions::default(),
        }
    }

    /// Publishes a plug-in to the workers, who take it between two batches.
    fn publish(&mut self, new: &Arc<Plugin>, metrics: &Metrics) {
        let old = self.plugin.send_replace(Arc::clone(new));
        metrics.of(&self.step).runs(Some(&old), new);
        self.since = Timestamp::now();
    }

    /// Lets `new` run on probation. `former` is the score of `old` at recent events.
    fn swap(&mut self, old: &Arc<Plugin>, new: &Arc<Plugin>, former: Score, metrics: &Metrics) {
        tracing::info!(
            step = self.step.title(),
            from = old.label,
            to = new.label,
            "plug-in swapped"
        );
        let score = self.tally.restart() + former;
        let until = Instant::now() + PROBATION;
        self.probation = Some(match self.probation.take() {
            // The one that is replaced was not proven itself.
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

    /// Counts a decision and keeps it. Whoever takes it logs it.
    fn decide(&mut self, metrics: &Metrics, decision: Decision) {
        metrics.swap(decision.outcome);
        self.decisions.note(decision);
    }

    fn json(&self) -> Value {
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

    /// Returns to the former plug-in if the new one does far worse than it did. Tells whether a probation has ended.
    fn judge(&mut self, metrics: &Metrics) -> bool {
        let score = self.tally.score();
        let ended = self.probation.take_if(|probation| {
            probation.until <= Instant::now() || score.is_far_worse_than(probation.score)
        });
        let Some(probation) = ended else { return false };
        if score.is_far_worse_than(probation.score) {
            match self.check_schemas(&probation.former) {
                Ok(()) => self.take_back(&probation.former, score, metrics),
                Err(problem) => self.keep(&probation.former, problem, metrics),
            }
        }
        true
    }

    /// Refuses a plug-in that does not know the schema of the stores any more. As long as the present one has settled and
    /// migrated nothing, its stores are as they were.
    fn check_schemas(&self, other: &Plugin) -> Result<(), String> {
        let present = self.plugin.borrow();
        let stores = &other.declared.stores;
        let lowered = stores.iter().find_map(|store| {
            let same = |present: &&StoreDeclaration| present.name == store.name;
            let present = present.declared.stores.iter().find(same)?;
            (present.schema_version > store.schema_version).then_some((store, present))
        });
        match lowered {
            Some((store, present)) if !self.tally.is_untouched() => Err(format!(
                "its store {} has schema version {}, and the entries have {} already",
                store.name, store.schema_version, present.schema_version
            )),
            _ => Ok(()),
        }
    }

    /// The new plug-in fails far more often, and stays nevertheless.
    fn keep(&mut self, former: &Plugin, problem: String, metrics: &Metrics) {
        let bad = Arc::clone(&self.plugin.borrow());
        tracing::error!(
            step = self.step.title(),
            plugin = bad.label,
            problem,
            "the new plug-in fails far more often, and the step cannot return to the former one"
        );
        let decision = Decision {
            outcome: Outcome::Kept,
            from: Some(bad.label.clone()),
            to: Some(former.label.clone()),
            problem: Some(problem),
        };
        self.decide(metrics, decision);
    }

    fn take_back(&mut self, former: &Arc<Plugin>, score: Score, metrics: &Metrics) {
        let bad = Arc::clone(&self.plugin.borrow());
        let problem = match score.events {
            0 => format!("it failed {} times and settled no event", score.failed),
            events => format!("it failed at {} of {events} events", score.failed),
        };
        tracing::error!(
            step = self.step.title(),
            plugin = bad.label,
            back_to = former.label,
            problem,
            "the new plug-in fails far more often; the step returns to the former one"
        );
        let decision = Decision {
            outcome: Outcome::Returned,
            from: Some(bad.label.clone()),
            to: Some(former.label.clone()),
            problem: Some(problem),
        };
        self.rejected = Some(bad.digest.clone());
        self.tally.restart();
        self.publish(former, metrics);
        self.decide(metrics, decision);
    }
}

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
            metrics.of(&slot.step).runs(None, &slot.plugin.borrow());
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
            let mut is_news = false;
            if Instant::now() >= next {
                let look = self.look(stop);
                next = Instant::now() + if look.is_unsettled { SETTLE } else { LOOK };
                is_news = look.has_changed || !look.bad.is_empty();
            }
            for slot in &mut self.slots {
                is_news |= slot.judge(&self.metrics);
            }
            if is_news {
                self.show();
            }
        }
        drop(sender);
    }

    fn look(&mut self, stop: &CancellationToken) -> Look {
        let look = self.catalog.look().unwrap_or_else(|error| {
            tracing::warn!(%error, "the plug-in folder cannot be read; the steps go on with what they have");
            Look::default()
        });
        for (file, problem) in &look.bad {
            let file = file.file_name().unwrap_or_default();
            self.metrics.swap(Outcome::BadFile);
            self.files.note(Decision {
                outcome: Outcome::BadFile,
                from: None,
                to: Some(file.display().to_string()),
                problem: Some(problem.clone()),
            });
        }
        if look.has_changed {
            for slot in &mut self.slots {
                update(slot, &self.catalog, &self.metrics, &self.client, stop);
            }
        }
        look
    }
}

fn update(
    slot: &mut Slot,
    catalog: &Catalog,
    metrics: &Metrics,
    client: &Client,
    stop: &CancellationToken,
) {
    let (name, old) = (slot.step.title(), Arc::clone(&slot.plugin.borrow()));
    let Some(new) = catalog.resolve(&slot.step.plugin) else {
        tracing::warn!(
            step = name,
            plugin = old.label,
            "the plug-in's file is gone; it runs on"
        );
        let decision = Decision {
            outcome: Outcome::Gone,
            from: Some(old.label.clone()),
            to: None,
            problem: None,
        };
        return slot.decide(metrics, decision);
    };
    if new.digest == old.digest || slot.rejected.as_ref() == Some(&new.digest) {
        return;
    }
    let tried = admit(slot, &new, &old, client, stop);
    let decided = |outcome, problem| Decision {
        outcome,
        from: Some(old.label.clone()),
        to: Some(new.label.clone()),
        problem,
    };
    match tried {
        Ok(former) => {
            slot.swap(&old, &new, former, metrics);
            slot.decide(metrics, decided(Outcome::Swapped, None));
        }
        Err((problem, outcome)) => {
            tracing::error!(
                step = name,
                plugin = new.label,
                problem,
                "the new plug-in is not taken; the old one runs on"
            );
            slot.decide(metrics, decided(outcome, Some(problem)));
        }
    }
}

/// Whether a new plug-in may run, and the score of the old one.
fn admit(
    slot: &Slot,
    new: &Plugin,
    old: &Plugin,
    client: &Client,
    stop: &CancellationToken,
) -> Result<Score, (String, Outcome)> {
    let step = &slot.step;
    let checked = check(step, new, Some(old)).and_then(|()| slot.check_schemas(new));
    checked.map_err(|problem| (problem, Outcome::Unfit))?;
    compare(step, new, old, client, stop).map_err(|problem| (problem, Outcome::FailedTrial))
}

/// Lets both plug-ins work on the same recent events, and returns the score of the old one. Without Kafka there is
/// nothing to compare; then the probation has to show it.
fn compare(
    step: &Arc<Step>,
    new: &Plugin,
    old: &Plugin,
    client: &Client,
    stop: &CancellationToken,
) -> Result<Score, String> {
    let sample = match Sample::read(client, step, || !stop.is_cancelled()) {
        Ok(sample) => sample,
        Err(error) => {
            tracing::warn!(%error, "the new plug-in is not tried on recent events");
            return Ok(Score::default());
        }
    };
    let new = sample
        .try_on(new, step)
        .map_err(|failure| format!("it does not start: {failure}"))?;
    // One that does not even start is no measure for others.
    let old = sample.try_on(old, step).unwrap_or_default();
    if new.is_far_worse_than(old) {
        return Err(format!(
            "it fails at {} of {} recent events, the old one at {}",
            new.failed, new.events, old.failed
        ));
    }
    Ok(old)
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
    let started = Instance::start(plugin, place, &mut Stores::in_memory());
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
