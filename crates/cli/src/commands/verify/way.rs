//! The way to a sink: the forms at its beginning, and every consumer group that a submission passes.

use formline_core::{App, app::Sink, event, ledger::DeadLetters, progress::Stage};
use formline_sinks::audit::{self, IdSource};

/// From forms to one sink.
pub(super) struct Way {
    /// `APP/SINK`, for people.
    pub(super) title: String,
    /// The steps and at last the sink: what each reads, and where it parks what it gives up.
    pub(super) stops: Vec<DeadLetters>,
    /// Every topic that one of them reads.
    pub(super) topics: Vec<String>,
    /// The `ce_source` of each form whose submissions come this way.
    pub(super) sources: Vec<String>,
    /// How the outcomes of the sink are named.
    pub(super) naming: IdSource,
}

// === impl Way ===

impl Way {
    pub(super) fn to(app: &App, sink: &Sink) -> Self {
        let upstream = app.upstream(&sink.input);
        let is_on_the_way = |group: String| upstream.iter().any(|stage| stage.group == group);
        let stop = |name: &str, topics: Vec<String>| DeadLetters {
            app: app.name.clone(),
            step: name.to_owned(),
            topics,
        };
        let steps = app.steps.iter().filter(|step| is_on_the_way(step.group()));
        let mut stops: Vec<_> = steps.map(|step| stop(&step.name, step.topics())).collect();
        stops.push(stop(&sink.name, sink.input.clone()));
        let mut topics: Vec<_> = stops.iter().flat_map(|stop| stop.topics.clone()).collect();
        topics.sort();
        topics.dedup();
        let forms = app.forms.iter().filter(|form| topics.contains(&form.topic));
        Self {
            title: format!("{}/{}", app.name, sink.name),
            sources: forms.map(|form| event::source(&form.name)).collect(),
            naming: audit::id_source(&sink.kind),
            stops,
            topics,
        }
    }

    /// Index of the sink among the stops.
    pub(super) fn sink(&self) -> usize {
        self.stops.len() - 1
    }

    /// The stops as stages of the line.
    pub(super) fn stages(&self) -> Vec<Stage> {
        let stages = self.stops.iter().map(|stop| Stage {
            group: stop.group(),
            topics: stop.topics.clone(),
        });
        stages.collect()
    }
}
