//! What was decided about plug-in files while the line runs, kept for people who ask why.

use std::collections::VecDeque;

use formline_core::event;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What became of a change in the plug-in folder.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) outcome: Outcome,
    /// The plug-in that ran until then.
    pub(crate) from: Option<String>,
    /// What came: a plug-in, or a file in which there is none.
    pub(crate) to: Option<String>,
    /// Why it was not taken, or not kept.
    pub(crate) problem: Option<String>,
}

/// How a decision went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// The new plug-in runs.
    Swapped,
    /// It does not fit the step.
    Unfit,
    /// It fails far more often at recent events.
    FailedTrial,
    /// It failed far more often at work, and the former one is back.
    Returned,
    /// It failed far more often at work, and stays: the former one does not know the schema of its stores.
    Kept,
    /// There is no plug-in in the file.
    BadFile,
    /// The file of the running plug-in is gone; it runs on.
    Gone,
}

/// The last decisions, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Decisions(VecDeque<(Timestamp, Decision)>);

/// At the bound the oldest is forgotten; log and metrics have it still.
const KEPT: usize = 16;

/// Characters of a problem. What follows is a backtrace, which the log has.
const PROBLEM: usize = 1000;

// === impl Outcome ===

impl Outcome {
    /// As metrics and `formline plugin list` name it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Swapped => "swapped",
            Self::Unfit => "unfit",
            Self::FailedTrial => "failed-trial",
            Self::Returned => "returned",
            Self::Kept => "kept",
            Self::BadFile => "bad-file",
            Self::Gone => "gone",
        }
    }
}

// === impl Decisions ===

impl Decisions {
    pub(crate) fn note(&mut self, mut decision: Decision) {
        let problem = decision.problem.take();
        decision.problem = problem.map(|problem| problem.chars().take(PROBLEM).collect());
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((Timestamp::now(), decision));
    }

    pub(crate) fn json(&self) -> Value {
        let all = self.0.iter().map(|(time, decision)| {
            json!({
                "time": event::format_time(*time),
                "outcome": decision.outcome.label(),
                "from": decision.from,
                "to": decision.to,
                "problem": decision.problem,
            })
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_decisions_are_kept_with_the_beginning_of_the_problem() {
        let mut decisions = Decisions::default();
        for count in 0..KEPT + 3 {
            decisions.note(Decision {
                outcome: Outcome::BadFile,
                from: None,
                to: Some(format!("{count}.wasm")),
                problem: Some("ä".repeat(2 * PROBLEM)),
            });
        }
        let json = decisions.json();
        let kept = json.as_array().expect("an array");
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[0]["to"], "3.wasm");
        assert_eq!(kept[KEPT - 1]["problem"], "ä".repeat(PROBLEM));
    }
}
