//! The route to a sink: the forms at its start, and every consumer group that a submission passes.

use formline_core::{
    App, app::Sink, dead_letter::letter::DeadLetterOwner, event, kafka::group_progress::Stage,
};
use formline_sinks::audit::{self, IdSource};

/// The route from forms to one sink.
pub(super) struct Route {
    /// `APP/SINK`, for output.
    pub(super) title: String,
    /// The steps on the route, and last the sink: the topics that each reads, and its dead-letter
    /// topic.
    pub(super) stops: Vec<DeadLetterOwner>,
    /// Every topic that one of the stops reads.
    pub(super) topics: Vec<String>,
    /// The `ce_source` of each form whose submissions take this route.
    pub(super) sources: Vec<String>,
    /// How the sink identifies its outcomes.
    pub(super) id_source: IdSource,
}

// === impl Route ===

impl Route {
    pub(super) fn to(app: &App, sink: &Sink) -> Self {
        let upstream = app.upstream(&sink.input);
        let is_on_route = |group: String| upstream.iter().any(|stage| stage.group == group);
        let stop = |name: &str, topics: Vec<String>| DeadLetterOwner {
            app: app.name.clone(),
            step: name.to_owned(),
            topics,
        };
        let steps = app.steps.iter().filter(|step| is_on_route(step.group()));
        let mut stops: Vec<_> = steps.map(|step| stop(&step.name, step.topics())).collect();
        stops.push(stop(&sink.name, sink.input.clone()));
        let mut topics: Vec<_> = stops.iter().flat_map(|stop| stop.topics.clone()).collect();
        topics.sort();
        topics.dedup();
        let forms = app.forms.iter().filter(|form| topics.contains(&form.topic));
        Self {
            title: format!("{}/{}", app.name, sink.name),
            sources: forms.map(|form| event::source(&form.name)).collect(),
            id_source: audit::id_source(&sink.kind),
            stops,
            topics,
        }
    }

    /// Index of the sink among the stops.
    pub(super) fn sink(&self) -> usize {
        self.stops.len() - 1
    }

    /// The consumer groups of the stops.
    pub(super) fn stages(&self) -> Vec<Stage> {
        let stages = self.stops.iter().map(|stop| Stage {
            group: stop.group(),
            topics: stop.topics.clone(),
        });
        stages.collect()
    }
}
