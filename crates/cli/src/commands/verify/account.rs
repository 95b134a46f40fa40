//! Compares what one sink has read with what it has written, and derives the state of each
//! submission.

use std::collections::{BTreeMap, HashMap};

use formline_core::EventId;
use formline_sinks::audit::{IdSource, OutcomeState, RowLocation, SinkOutcome};

use super::{
    delivery_trace::{DeadLettered, DeliveryTrace},
    route::Route,
    submissions::Submissions,
};

/// The state of each submission at one sink.
pub(super) struct SinkAccount<'a> {
    /// `APP/SINK`.
    pub(super) title: String,
    id_source: IdSource,
    submissions: &'a Submissions,
    /// By the id under which the sink reports its outcomes.
    items: HashMap<EventId, Item>,
    /// The state of each submission that reaches the sink. Complete after [`Self::close`].
    pub(super) states: BTreeMap<EventId, SubmissionState>,
    /// Submissions with a dead-lettered record: the step or sink, and the reason.
    pub(super) dead_lettered: BTreeMap<EventId, (String, String)>,
    /// Number of submissions whose row is marked as late.
    pub(super) late: usize,
    /// Rows that are below a later submission without being marked as late.
    pub(super) disorder: Vec<(EventId, RowLocation)>,
    /// Time and id of the previous row that is in order.
    last: Option<(i64, EventId)>,
}

/// Counts for one id at the sink.
#[derive(Clone, Copy, Debug)]
struct Item {
    submission: EventId,
    /// Records that the sink reads.
    given: u32,
    /// Records among them that the group of the sink has passed.
    passed: u32,
    /// Records among them that the sink has dead-lettered.
    dead_lettered: u32,
    /// Deliveries.
    delivered: u32,
    /// Attempts with an unknown outcome.
    unknown: u32,
    /// Whether the sink has deferred a record.
    is_deferred: bool,
}

/// The state of a submission, in ascending order of severity. With several records the most severe
/// state counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum SubmissionState {
    /// A step has derived no output from it.
    NotPassedOn,
    Delivered,
    /// Unknown whether it had its effect; the sink does not retry.
    OutcomeUnknown,
    /// A step or the sink has dead-lettered it.
    DeadLettered,
    /// A group has not passed it yet.
    UnderWay,
    /// All groups have passed it, and it is not at the destination.
    Missing,
    /// It is at the destination more often than the sink has read it.
    Doubled,
}

// === impl SinkAccount ===

impl<'a> SinkAccount<'a> {
    /// Starts with what is expected at the destination.
    pub(super) fn open(route: &Route, submissions: &'a Submissions, trace: &DeliveryTrace) -> Self {
        let mut account = Self {
            title: route.title.clone(),
            id_source: route.id_source,
            submissions,
            items: HashMap::new(),
            states: submissions
                .to(&route.sources)
                .map(|id| (id, SubmissionState::NotPassedOn))
                .collect(),
            dead_lettered: BTreeMap::new(),
            late: 0,
            disorder: Vec::new(),
            last: None,
        };
        for (record, input) in &trace.inputs {
            let item = account.item(*record, input.submission);
            item.given += input.count;
            item.passed += if input.is_passed { input.count } else { 0 };
        }
        for letter in trace.dead_lettered() {
            account.add_dead_lettered(route, &letter);
        }
        for submission in &trace.pending {
            account.raise(*submission, SubmissionState::UnderWay);
        }
        account
    }

    fn add_dead_lettered(&mut self, route: &Route, letter: &DeadLettered<'_>) {
        let stop = route.stops[letter.stop].step.clone();
        let reason = letter.reason.to_owned();
        self.dead_lettered.insert(letter.submission, (stop, reason));
        if letter.stop == route.sink() {
            self.item(letter.record, letter.submission).dead_lettered += letter.count;
        } else {
            self.raise(letter.submission, SubmissionState::DeadLettered);
        }
    }

    fn item(&mut self, record: EventId, submission: EventId) -> &mut Item {
        let name = match self.id_source {
            IdSource::Submission => submission,
            IdSource::Record => record,
        };
        self.items.entry(name).or_insert(Item {
            submission,
            given: 0,
            passed: 0,
            dead_lettered: 0,
            delivered: 0,
            unknown: 0,
            is_deferred: false,
        })
    }

    /// Raises the severity of a submission, if it is one that reaches the sink.
    fn raise(&mut self, submission: EventId, to: SubmissionState) {
        if let Some(state) = self.states.get_mut(&submission) {
            *state = to.max(*state);
        }
    }

    /// Adds an outcome that the sink reports.
    pub(super) fn add(&mut self, outcome: SinkOutcome) {
        let is_submission = self.states.contains_key(&outcome.id);
        if self.id_source == IdSource::Submission && is_submission {
            // Even if the topic of the sink no longer contains the record.
            self.item(outcome.id, outcome.id);
        }
        let Some(item) = self.items.get_mut(&outcome.id) else {
            return;
        };
        match outcome.state {
            OutcomeState::Done => item.delivered += 1,
            OutcomeState::Unknown => item.unknown += 1,
            OutcomeState::UnderWay => {
                item.is_deferred = true;
                return;
            }
        }
        let submission = item.submission;
        if outcome.is_late {
            self.late += 1;
        } else if let Some(location) = outcome.location {
            self.check_order(submission, location);
        }
    }

    fn check_order(&mut self, id: EventId, location: RowLocation) {
        // If the id was used more than once, the row does not tell which use it belongs to.
        let Some(one) = self.submissions.get(&id).filter(|one| one.uses == 1) else {
            return;
        };
        let key = (one.time, id);
        if self.last.is_some_and(|last| key < last) {
            self.disorder.push((id, location));
        }
        self.last = self.last.max(Some(key));
    }

    /// Derives the states, after all outcomes were added.
    pub(super) fn close(&mut self) {
        for item in std::mem::take(&mut self.items).into_values() {
            let is_pending = self.states.get(&item.submission) == Some(&SubmissionState::UnderWay);
            self.raise(item.submission, item.state(is_pending));
        }
    }

    /// Treats what is missing or doubled now, but was not in an earlier account, as under way.
    pub(super) fn confirm_with(&mut self, earlier: &SinkAccount<'_>) {
        let is_wrong = |state: SubmissionState| state >= SubmissionState::Missing;
        for (id, state) in &mut self.states {
            let before = earlier.states.get(id).copied();
            if is_wrong(*state) && before.is_none_or(|before| !is_wrong(before)) {
                *state = SubmissionState::UnderWay;
            }
        }
    }

    pub(super) fn has_under_way(&self) -> bool {
        self.of(SubmissionState::UnderWay).next().is_some()
    }

    /// Whether something is missing, doubled or out of order. With `complete`, also whether
    /// something is under way or was not passed on.
    pub(super) fn is_wrong(&self, complete: bool) -> bool {
        use SubmissionState::{Missing, NotPassedOn, UnderWay};
        let is_open = |state: &SubmissionState| matches!(state, NotPassedOn | UnderWay);
        let is_wrong = |state: &SubmissionState| *state >= Missing || (complete && is_open(state));
        !self.disorder.is_empty() || self.states.values().any(is_wrong)
    }

    /// The submissions in a state.
    pub(super) fn of(&self, state: SubmissionState) -> impl Iterator<Item = EventId> {
        let all = self.states.iter();
        let of = all.filter(move |(_, found)| **found == state);
        of.map(|(id, _)| *id)
    }
}

// === impl Item ===

impl Item {
    /// The state of the submission. `is_pending`: a step may have sent the sink more records than
    /// the trace contains.
    fn state(&self, is_pending: bool) -> SubmissionState {
        let found = self.delivered + self.unknown + self.dead_lettered;
        // Kafka may have deleted a record that the sink has delivered.
        let given = self.given.max(1);
        match () {
            () if found > given && is_pending => SubmissionState::UnderWay,
            () if found > given => SubmissionState::Doubled,
            () if found < self.passed && !self.is_deferred => SubmissionState::Missing,
            () if found < given => SubmissionState::UnderWay,
            () if self.dead_lettered > 0 => SubmissionState::DeadLettered,
            () if self.unknown > 0 => SubmissionState::OutcomeUnknown,
            () => SubmissionState::Delivered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SubmissionState as State, *};

    fn item(given: u32, passed: u32, dead_lettered: u32, delivered: u32) -> Item {
        Item {
            submission: EventId::new(),
            given,
            passed,
            dead_lettered,
            delivered,
            unknown: 0,
            is_deferred: false,
        }
    }

    #[test]
    fn every_record_has_one_outcome() {
        for (item, expected) in [
            (item(1, 1, 0, 1), State::Delivered),
            (item(1, 0, 0, 1), State::Delivered),
            (item(0, 0, 0, 1), State::Delivered),
            (item(1, 1, 1, 0), State::DeadLettered),
            (item(2, 2, 1, 1), State::DeadLettered),
            (item(1, 0, 0, 0), State::UnderWay),
            (item(2, 1, 0, 1), State::UnderWay),
            (item(1, 1, 0, 0), State::Missing),
            (item(2, 2, 0, 1), State::Missing),
            (item(1, 1, 0, 2), State::Doubled),
            (item(1, 1, 1, 1), State::Doubled),
            (item(0, 0, 0, 2), State::Doubled),
        ] {
            assert_eq!(item.state(false), expected, "{item:?}");
        }
    }

    #[test]
    fn an_excess_is_under_way_while_a_step_may_still_send_records() {
        assert_eq!(item(1, 1, 0, 2).state(true), State::UnderWay);
    }

    #[test]
    fn a_deferred_record_is_under_way_until_it_is_delivered() {
        let deferred = |dead_lettered, delivered| Item {
            is_deferred: true,
            ..item(1, 1, dead_lettered, delivered)
        };
        assert_eq!(deferred(0, 0).state(false), State::UnderWay);
        assert_eq!(deferred(0, 1).state(false), State::Delivered);
        assert_eq!(deferred(1, 0).state(false), State::DeadLettered);
    }

    #[test]
    fn an_unknown_outcome_counts_as_one_outcome() {
        let unknown = |delivered, unknown| Item {
            unknown,
            ..item(1, 1, 0, delivered)
        };
        assert_eq!(unknown(0, 1).state(false), State::OutcomeUnknown);
        assert_eq!(unknown(1, 1).state(false), State::Doubled);
    }
}
