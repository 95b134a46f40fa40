//! Decisions about plug-in files while the process runs, kept for operators.

use std::collections::VecDeque;

use formline_core::event;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The decision about a change in the plug-in folder.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) outcome: SwapOutcome,
    /// The plug-in that ran before.
    pub(crate) from: Option<String>,
    /// The new plug-in, or a file that does not contain one.
    pub(crate) to: Option<String>,
    /// Why the new plug-in was rejected or rolled back.
    pub(crate) problem: Option<String>,
}

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SwapOutcome {
    /// The new plug-in runs.
    Swapped,
    /// The new plug-in does not fit the step.
    Unfit,
    /// The new plug-in fails far more often for recent events.
    FailedTrial,
    /// The new plug-in failed far more often during its probation, and the former one runs again.
    RolledBack,
    /// The new plug-in failed far more often during its probation and runs on, because the former
    /// one does not support the schema of the stores.
    Kept,
    /// The file does not contain a plug-in.
    BadFile,
    /// The file of the running plug-in was removed; the plug-in runs on.
    Gone,
}

/// The last decisions, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Decisions(VecDeque<(Timestamp, Decision)>);

/// Decisions that are kept; older ones are only in the log and the metrics.
const KEPT: usize = 16;

/// Characters of a problem that are kept. The rest is a backtrace, which the log contains.
const PROBLEM: usize = 1000;

// === impl SwapOutcome ===

impl SwapOutcome {
    /// The label in metrics and in `formline plugin list`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Swapped => "swapped",
            Self::Unfit => "unfit",
            Self::FailedTrial => "failed-trial",
            Self::RolledBack => "returned",
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
    fn the_last_decisions_are_kept_with_the_start_of_the_problem() {
        let mut decisions = Decisions::default();
        for count in 0..KEPT + 3 {
            decisions.note(Decision {
                outcome: SwapOutcome::BadFile,
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

    /// Dashboards and `formline plugin list` rely on these words.
    #[test]
    fn outcomes_keep_their_labels() {
        let labels = [
            (SwapOutcome::Swapped, "swapped"),
            (SwapOutcome::Unfit, "unfit"),
            (SwapOutcome::FailedTrial, "failed-trial"),
            (SwapOutcome::RolledBack, "returned"),
            (SwapOutcome::Kept, "kept"),
            (SwapOutcome::BadFile, "bad-file"),
            (SwapOutcome::Gone, "gone"),
        ];
        for (outcome, label) in labels {
            assert_eq!(outcome.label(), label);
        }
    }
}
