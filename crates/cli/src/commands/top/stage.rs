//! The stages of one process, and what it tells of each in its metrics and its health.

use std::{collections::BTreeMap, fmt};

use super::{
    exposition::{self, NoExposition, Sample},
    histogram::Histogram,
};

/// A stage of the line, in the order of the line. Steps and sinks are named `APP/NAME`; a form's name stands alone, as
/// in its address.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Stage {
    Form(String),
    Step(String),
    Sink(String),
}

/// What one process has counted of a stage since it began.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Measures {
    /// Submissions that a form has accepted, or events that a step or sink is done with.
    pub(super) events: f64,
    /// What went wrong on our side: submissions that could not be stored, calls of a plug-in that have failed. A sink
    /// tries until it succeeds, and counts none.
    pub(super) errors: Option<f64>,
    pub(super) dead_letters: Option<f64>,
    /// How many records a step is behind, or a sink holds back.
    pub(super) lag: Option<f64>,
    /// How long a form's client has waited; for steps and sinks the time since the submission was accepted.
    pub(super) latency: Histogram,
    pub(super) plugin: Option<String>,
    /// Workers of it.
    pub(super) parts: usize,
    /// Why some of them wait.
    pub(super) waiting: Vec<String>,
}

/// All that a process tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) stages: BTreeMap<Stage, Measures>,
    /// Why the process as a whole waits.
    pub(super) waiting: Vec<String>,
}

// === impl Told ===

impl Told {
    /// Reads the pages `/metrics` and `/readyz`.
    pub(super) fn read(metrics: &str, health: &str) -> Result<Self, NoExposition> {
        let samples = exposition::parse(metrics)?;
        let mut told = Self::default();
        let forms = samples.iter().filter(|one| one.name == SUBMISSIONS);
        for sample in forms {
            told.stage(Stage::Form(sample.label("form").to_owned()));
        }
        for line in health.lines() {
            told.part(line);
        }
        for sample in &samples {
            told.note(sample);
        }
        Ok(told)
    }

    /// A stage, with what is zero until it is counted.
    fn stage(&mut self, stage: Stage) -> &mut Measures {
        let none = Measures {
            errors: (!matches!(stage, Stage::Sink(_))).then_some(0.0),
            dead_letters: (!matches!(stage, Stage::Form(_))).then_some(0.0),
            ..Measures::default()
        };
        self.stages.entry(stage).or_insert(none)
    }

    /// A line of the health page: `step APP/NAME worker 2: ready`.
    fn part(&mut self, line: &str) {
        let Some((part, state)) = line.split_once(": ") else {
            return;
        };
        let waits = (state != "ready").then(|| state.to_owned());
        let mut words = part.split(' ');
        let stage = match (words.next(), words.next()) {
            (Some("step"), Some(title)) => Stage::Step(title.to_owned()),
            (Some("sink"), Some(title)) => Stage::Sink(title.to_owned()),
            _ => {
                return self
                    .waiting
                    .extend(waits.map(|why| format!("{part}: {why}")));
            }
        };
        let measures = self.stage(stage);
        measures.parts += 1;
        measures.waiting.extend(waits);
    }

    /// A sample counts for the stage that its labels name, if there is such.
    fn note(&mut self, sample: &Sample) {
        let Sample { name, value, .. } = sample;
        let Some(measures) = self.named_by(sample) else {
            return;
        };
        let outcome = sample.label("outcome");
        match name.as_str() {
            SUBMISSIONS if outcome == "accepted" => measures.events += value,
            SUBMISSIONS => add(
                &mut measures.errors,
                if outcome == "failed" { *value } else { 0.0 },
            ),
            STEP_EVENTS | SINK_RECORDS => {
                let is_dead = outcome == "dead-letter";
                measures.events += value;
                add(
                    &mut measures.dead_letters,
                    if is_dead { *value } else { 0.0 },
                );
            }
            "formline_plugin_traps_total" => add(&mut measures.errors, *value),
            "formline_step_lag_records" | SINK_BUFFERED => add(&mut measures.lag, *value),
            "formline_plugin_info" => {
                let [plugin, version] = ["plugin", "version"].map(|name| sample.label(name));
                measures.plugin = Some(format!("{plugin}@{version}"));
            }
            REQUESTS if sample.label("method") != "POST" => {}
            REQUESTS | LATENCY => {
                let bound = sample.label("le").parse().unwrap_or(f64::INFINITY);
                measures.latency.add(bound, *value);
            }
            _ => {}
        }
    }

    fn named_by(&mut self, sample: &Sample) -> Option<&mut Measures> {
        let label = |name| sample.label(name);
        let of = |name| format!("{}/{}", label("app"), label(name));
        match sample.name.as_str() {
            SUBMISSIONS | REQUESTS => self.stages.get_mut(&Stage::Form(label("form").to_owned())),
            // Steps and sinks of one app have names of their own.
            LATENCY => {
                let title = of("stage");
                let mut stages = self.stages.iter_mut();
                stages.find_map(|(stage, measures)| (stage.title() == title).then_some(measures))
            }
            // `APP.NAME`.
            SINK_RECORDS | SINK_BUFFERED => {
                let is_it = |title: &str| title.replace('/', ".") == label("sink");
                let mut stages = self.stages.iter_mut();
                stages.find_map(|(stage, measures)| match stage {
                    Stage::Sink(title) if is_it(title) => Some(measures),
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

/// Adds to a number that was not told before.
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
    fn only_stages_that_the_process_has_are_told_of() {
        let metrics = "formline_http_request_duration_seconds_bucket{form=\"none\",method=\"POST\",le=\"1\"} 5\n\
            formline_step_events_total{app=\"gone\",step=\"rows\",outcome=\"accepted\"} 7\n\
            formline_sink_records_total{sink=\"a.sheet\",outcome=\"dead-letter\"} 2\n\
            formline_sink_records_total{sink=\"a.sheet\",outcome=\"written\"} 3\n";
        let health = "start: starting\nsink a/sheet: ready\nstep a/rows worker 0: ready\n\
            step a/rows worker 1: restoring state\nno health\n";
        let told = Told::read(metrics, health).expect("an exposition");
        assert_eq!(told.waiting, ["start: starting"]);
        assert_eq!(told.stages.len(), 2);
        let rows = &told.stages[&Stage::Step("a/rows".to_owned())];
        assert_eq!((rows.parts, rows.events), (2, 0.0));
        assert_eq!(rows.waiting, ["restoring state"]);
        let sheet = &told.stages[&Stage::Sink("a/sheet".to_owned())];
        assert_eq!((sheet.events, sheet.dead_letters), (5.0, Some(2.0)));
    }
}
