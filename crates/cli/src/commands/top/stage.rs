//! The stages of one process, and their figures in its metrics and health.

use std::{collections::BTreeMap, fmt};

use super::{
    exposition::{self, InvalidExposition, Sample},
    histogram::Histogram,
};

/// A stage of the pipeline, ordered as in the pipeline. Steps and sinks are named `APP/NAME`, forms
/// `NAME` as in their URLs.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Stage {
    Form(String),
    Step(String),
    Sink(String),
}

/// The figures of a stage in one process, since the process has started.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StageMetrics {
    /// Submissions that a form has accepted, or events that a step or sink has processed.
    pub(super) events: f64,
    /// Submissions that could not be stored, or failed calls of a plug-in. None for sinks, which
    /// retry until they succeed.
    pub(super) errors: Option<f64>,
    pub(super) dead_letters: Option<f64>,
    /// Records that a step is behind, or that a sink buffers.
    pub(super) lag: Option<f64>,
    /// The response time of a form; for steps and sinks, the time since the submission was
    /// accepted.
    pub(super) latency: Histogram,
    pub(super) plugin: Option<String>,
    /// Number of workers.
    pub(super) workers: usize,
    /// Why some of the workers are waiting.
    pub(super) waiting: Vec<String>,
}

/// The figures of one process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ProcessMetrics {
    pub(super) stages: BTreeMap<Stage, StageMetrics>,
    /// Why the process as a whole is waiting.
    pub(super) waiting: Vec<String>,
}

// === impl ProcessMetrics ===

impl ProcessMetrics {
    /// Parses the pages `/metrics` and `/readyz`.
    pub(super) fn parse(metrics: &str, health: &str) -> Result<Self, InvalidExposition> {
        let samples = exposition::parse(metrics)?;
        let mut process = Self::default();
        let forms = samples.iter().filter(|one| one.name == SUBMISSIONS);
        for sample in forms {
            process.stage(Stage::Form(sample.label("form").to_owned()));
        }
        for line in health.lines() {
            process.add_health_check(line);
        }
        for sample in &samples {
            process.add_sample(sample);
        }
        Ok(process)
    }

    /// The figures of a stage. Counters that the stage has, but that have no sample yet, are zero.
    fn stage(&mut self, stage: Stage) -> &mut StageMetrics {
        let zero = StageMetrics {
            errors: (!matches!(stage, Stage::Sink(_))).then_some(0.0),
            dead_letters: (!matches!(stage, Stage::Form(_))).then_some(0.0),
            ..StageMetrics::default()
        };
        self.stages.entry(stage).or_insert(zero)
    }

    /// Adds a line of the health page, such as `step APP/NAME worker 2: ready`.
    fn add_health_check(&mut self, line: &str) {
        let Some((name, state)) = line.split_once(": ") else {
            return;
        };
        let waiting = (state != "ready").then(|| state.to_owned());
        let mut words = name.split(' ');
        let stage = match (words.next(), words.next()) {
            (Some("step"), Some(title)) => Stage::Step(title.to_owned()),
            (Some("sink"), Some(title)) => Stage::Sink(title.to_owned()),
            _ => {
                let waiting = waiting.map(|reason| format!("{name}: {reason}"));
                return self.waiting.extend(waiting);
            }
        };
        let metrics = self.stage(stage);
        metrics.workers += 1;
        metrics.waiting.extend(waiting);
    }

    /// Adds a sample to the stage that its labels name, if the process has that stage.
    fn add_sample(&mut self, sample: &Sample) {
        let Sample { name, value, .. } = sample;
        let Some(metrics) = self.stage_of(sample) else {
            return;
        };
        let outcome = sample.label("outcome");
        let if_outcome = |wanted| if outcome == wanted { *value } else { 0.0 };
        match name.as_str() {
            SUBMISSIONS if outcome == "accepted" => metrics.events += value,
            SUBMISSIONS => add(&mut metrics.errors, if_outcome("failed")),
            STEP_EVENTS | SINK_RECORDS => {
                metrics.events += value;
                add(&mut metrics.dead_letters, if_outcome("dead-letter"));
            }
            "formline_plugin_traps_total" => add(&mut metrics.errors, *value),
            "formline_step_lag_records" | SINK_BUFFERED => add(&mut metrics.lag, *value),
            "formline_plugin_info" => {
                let [plugin, version] = ["plugin", "version"].map(|name| sample.label(name));
                metrics.plugin = Some(format!("{plugin}@{version}"));
            }
            REQUESTS if sample.label("method") != "POST" => {}
            REQUESTS | LATENCY => {
                let bound = sample.label("le").parse().unwrap_or(f64::INFINITY);
                metrics.latency.add(bound, *value);
            }
            _ => {}
        }
    }

    fn stage_of(&mut self, sample: &Sample) -> Option<&mut StageMetrics> {
        let label = |name| sample.label(name);
        let of = |name| format!("{}/{}", label("app"), label(name));
        match sample.name.as_str() {
            SUBMISSIONS | REQUESTS => self.stages.get_mut(&Stage::Form(label("form").to_owned())),
            // Names are unique among the steps and sinks of an app.
            LATENCY => {
                let title = of("stage");
                let mut stages = self.stages.iter_mut();
                stages.find_map(|(stage, metrics)| (stage.title() == title).then_some(metrics))
            }
            // The label is `APP.NAME`.
            SINK_RECORDS | SINK_BUFFERED => {
                let matches = |title: &str| title.replace('/', ".") == label("sink");
                let mut stages = self.stages.iter_mut();
                stages.find_map(|(stage, metrics)| match stage {
                    Stage::Sink(title) if matches(title) => Some(metrics),
                    _ => None,
                })
            }
            _ => self.stages.get_mut(&Stage::Step(of("step"))),
        }
    }
}

const SUBMISSIONS: &str = "formline_submissions_total";
const REQUESTS: &str = "formline_http_request_duration_seconds_bucket";
const STEP_EVENTS: &str = "formline_step_events_total";
const SINK_RECORDS: &str = "formline_sink_records_total";
const SINK_BUFFERED: &str = "formline_sink_buffered_records";
const LATENCY: &str = "formline_end_to_end_latency_seconds_bucket";

/// Adds to a sum that may not have a value yet.
pub(super) fn add(sum: &mut Option<f64>, value: f64) {
    *sum.get_or_insert(0.0) += value;
}

// === impl Stage ===

impl Stage {
    pub(super) fn title(&self) -> &str {
        match self {
            Self::Form(title) | Self::Step(title) | Self::Sink(title) => title,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Form(_) => "form",
            Self::Step(_) => "step",
            Self::Sink(_) => "sink",
        };
        write!(f, "{kind} {}", self.title())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stages_that_the_process_has_are_included() {
        let metrics = "formline_http_request_duration_seconds_bucket{form=\"none\",method=\"POST\",le=\"1\"} 5\n\
            formline_step_events_total{app=\"gone\",step=\"rows\",outcome=\"accepted\"} 7\n\
            formline_sink_records_total{sink=\"a.sheet\",outcome=\"dead-letter\"} 2\n\
            formline_sink_records_total{sink=\"a.sheet\",outcome=\"written\"} 3\n";
        let health = "start: starting\nsink a/sheet: ready\nstep a/rows worker 0: ready\n\
            step a/rows worker 1: restoring state\nno health\n";
        let process = ProcessMetrics::parse(metrics, health).expect("an exposition");
        assert_eq!(process.waiting, ["start: starting"]);
        assert_eq!(process.stages.len(), 2);
        let rows = &process.stages[&Stage::Step("a/rows".to_owned())];
        assert_eq!((rows.workers, rows.events), (2, 0.0));
        assert_eq!(rows.waiting, ["restoring state"]);
        let sheet = &process.stages[&Stage::Sink("a/sheet".to_owned())];
        assert_eq!((sheet.events, sheet.dead_letters), (5.0, Some(2.0)));
    }
}
