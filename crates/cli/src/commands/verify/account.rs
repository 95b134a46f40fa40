//! The account of one sink: what it was given held against what it has written, and so what became of each submission.

use std::collections::{BTreeMap, HashMap};

use formline_core::EventId;
use formline_sinks::audit::{IdSource, OutcomeState, RowLocation, SinkOutcome};

use super::{
    submissions::Submissions,
    trail::{GivenUp, Trail},
    way::Way,
};

/// What became of each submission at one sink.
pub(super) struct Account<'a> {
    /// `APP/SINK`.
    pub(super) title: String,
    naming: IdSource,
    submissions: &'a Submissions,
    /// By the id under which the sink's outcomes are named.
    items: HashMap<EventId, Item>,
    /// Once it is closed: each submission that reaches the sink.
    pub(super) fates: BTreeMap<EventId, Fate>,
    /// Submissions with a record that was given up: where and why.
    pub(super) given_up: BTreeMap<EventId, (String, String)>,
    /// Submissions whose row says that it is late.
    pub(super) late: usize,
    /// Rows that stand below a later submission and do not say so.
    pub(super) disorder: Vec<(EventId, RowLocation)>,
    /// Time and id of the row before, if it stands in order.
    last: Option<(i64, EventId)>,
}

/// What has one name at the sink.
#[derive(Clone, Copy, Debug)]
struct Item {
    submission: EventId,
    /// Records that the sink is given.
    given: u32,
    /// Of these, how many its group has passed.
    passed: u32,
    /// Of these, how many it has given up.
    given_up: u32,
    /// How often the sink has it.
    held: u32,
    /// How often it may have it or not.
    uncertain: u32,
    /// Whether the sink has put it off.
    is_put_off: bool,
}

/// What became of a submission, from the most harmless to the worst: of several records the worst counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Fate {
    /// A step has made nothing of it.
    NotPassedOn,
    Delivered,
    /// Nobody knows whether it had its effect, and the sink does not try again.
    Uncertain,
    /// It was given up by a step or the sink.
    DeadLetter,
    /// Some group has not passed it yet.
    UnderWay,
    /// Everybody has passed it, and it is not there.
    Missing,
    /// It is there more often than it was given.
    Doubled,
}

// === impl Account ===

impl<'a> Account<'a> {
    /// What has to be there.
    pub(super) fn open(way: &Way, submissions: &'a Submissions, trail: &Trail) -> Self {
        let mut account = Self {
            title: way.title.clone(),
            naming: way.naming,
            submissions,
            items: HashMap::new(),
            fates: submissions
                .to(&way.sources)
                .map(|id| (id, Fate::NotPassedOn))
                .collect(),
            given_up: BTreeMap::new(),
            late: 0,
            disorder: Vec::new(),
            last: None,
        };
        for (record, seen) in &trail.records {
            let item = account.item(*record, seen.submission);
            item.given += seen.count;
            item.passed += if seen.is_passed { seen.count } else { 0 };
        }
        for parked in trail.given_up() {
            account.give_up(way, &parked);
        }
        for submission in &trail.pending {
            account.raise(*submission, Fate::UnderWay);
        }
        account
    }

    fn give_up(&mut self, way: &Way, parked: &GivenUp<'_>) {
        let stop = way.stops[parked.stop].step.clone();
        let why = (stop, parked.reason.to_owned());
        self.given_up.insert(parked.submission, why);
        if parked.stop == way.sink() {
            self.item(parked.record, parked.submission).given_up += parked.count;
        } else {
            self.raise(parked.submission, Fate::DeadLetter);
        }
    }

    fn item(&mut self, record: EventId, submission: EventId) -> &mut Item {
        let name = match self.naming {
            IdSource::Submission => submission,
            IdSource::Record => record,
        };
        self.items.entry(name).or_insert(Item {
            submission,
            given: 0,
            passed: 0,
            given_up: 0,
            held: 0,
            uncertain: 0,
            is_put_off: false,
        })
    }

    /// Only what reaches the sink has a fate there.
    fn raise(&mut self, submission: EventId, to: Fate) {
        if let Some(fate) = self.fates.get_mut(&submission) {
            *fate = to.max(*fate);
        }
    }

    /// Takes what the sink has done.
    pub(super) fn add(&mut self, outcome: SinkOutcome) {
        let is_submission = self.fates.contains_key(&outcome.id);
        if self.naming == IdSource::Submission && is_submission {
            // Also one of which the sink's topic has no record any more.
            self.item(outcome.id, outcome.id);
        }
        let Some(item) = self.items.get_mut(&outcome.id) else {
            return;
        };
        match outcome.state {
            OutcomeState::Done => item.held += 1,
            OutcomeState::Unknown => item.uncertain += 1,
            OutcomeState::UnderWay => {
                item.is_put_off = true;
                return;
            }
        }
        let submission = item.submission;
        if outcome.is_late {
            self.late += 1;
        } else if let Some(place) = outcome.location {
            self.check_order(submission, place);
        }
    }

    fn check_order(&mut self, id: EventId, place: RowLocation) {
        // A row does not say which use of a key it stems from.
        let Some(one) = self.submissions.get(&id).filter(|one| one.uses == 1) else {
            return;
        };
        let key = (one.time, id);
        if self.last.is_some_and(|last| key < last) {
            self.disorder.push((id, place));
        }
        self.last = self.last.max(Some(key));
    }

    /// Judges, when everything that the sink has was added.
    pub(super) fn close(&mut self) {
        for item in std::mem::take(&mut self.items).into_values() {
            let is_pending = self.fates.get(&item.submission) == Some(&Fate::UnderWay);
            self.raise(item.submission, item.fate(is_pending));
        }
    }

    /// What is wrong only since an earlier look is still moving.
    pub(super) fn doubt(&mut self, earlier: &Account<'_>) {
        for (id, fate) in &mut self.fates {
            let before = earlier.fates.get(id).copied();
            if *fate >= Fate::Missing && before.is_none_or(|before| before < Fate::Missing) {
                *fate = Fate::UnderWay;
            }
        }
    }

    pub(super) fn has_under_way(&self) -> bool {
        self.of(Fate::UnderWay).next().is_some()
    }

    /// Whether something is missing, doubled or out of order; `complete`: or has no outcome at all.
    pub(super) fn is_wrong(&self, complete: bool) -> bool {
        let is_open = |fate: &Fate| matches!(fate, Fate::NotPassedOn | Fate::UnderWay);
        let wrong = |fate: &Fate| *fate >= Fate::Missing || (complete && is_open(fate));
        !self.disorder.is_empty() || self.fates.values().any(wrong)
    }

    /// The submissions of one fate.
    pub(super) fn of(&self, fate: Fate) -> impl Iterator<Item = EventId> {
        let of = self.fates.iter().filter(move |(_, found)| **found == fate);
        of.map(|(id, _)| *id)
    }
}

// === impl Item ===

impl Item {
    /// `is_pending`: a step may have given the sink more than we have seen.
    fn fate(&self, is_pending: bool) -> Fate {
        let found = self.held + self.uncertain + self.given_up;
        // Kafka may have deleted the record of what the sink has.
        let given = self.given.max(1);
        match () {
            () if found > given && is_pending => Fate::UnderWay,
            () if found > given => Fate::Doubled,
            () if found < self.passed && !self.is_put_off => Fate::Missing,
            () if found < given => Fate::UnderWay,
            () if self.given_up > 0 => Fate::DeadLetter,
            () if self.uncertain > 0 => Fate::Uncertain,
            () => Fate::Delivered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(given: u32, passed: u32, given_up: u32, held: u32) -> Item {
        Item {
            submission: EventId::new(),
            given,
            passed,
            given_up,
            held,
            uncertain: 0,
            is_put_off: false,
        }
    }

    fn fate(given: u32, passed: u32, given_up: u32, held: u32) -> Fate {
        item(given, passed, given_up, held).fate(false)
    }

    #[test]
    fn every_record_has_one_outcome() {
        for (fate, expected) in [
            (fate(1, 1, 0, 1), Fate::Delivered),
            (fate(1, 0, 0, 1), Fate::Delivered),
            (fate(0, 0, 0, 1), Fate::Delivered),
            (fate(1, 1, 1, 0), Fate::DeadLetter),
            (fate(2, 2, 1, 1), Fate::DeadLetter),
            (fate(1, 0, 0, 0), Fate::UnderWay),
            (fate(2, 1, 0, 1), Fate::UnderWay),
            (fate(1, 1, 0, 0), Fate::Missing),
            (fate(2, 2, 0, 1), Fate::Missing),
            (fate(1, 1, 0, 2), Fate::Doubled),
            (fate(1, 1, 1, 1), Fate::Doubled),
            (fate(0, 0, 0, 2), Fate::Doubled),
        ] {
            assert_eq!(fate, expected);
        }
    }

    #[test]
    fn what_a_step_may_still_give_is_not_doubled() {
        assert_eq!(item(1, 1, 0, 2).fate(true), Fate::UnderWay);
    }

    #[test]
    fn what_the_sink_has_put_off_is_under_way_until_it_is_there() {
        let put_off = |given_up, held| Item {
            is_put_off: true,
            ..item(1, 1, given_up, held)
        };
        assert_eq!(put_off(0, 0).fate(false), Fate::UnderWay);
        assert_eq!(put_off(0, 1).fate(false), Fate::Delivered);
        assert_eq!(put_off(1, 0).fate(false), Fate::DeadLetter);
    }

    #[test]
    fn what_nobody_knows_is_uncertain() {
        let uncertain = |held, uncertain| Item {
            uncertain,
            ..item(1, 1, 0, held)
        };
        assert_eq!(uncertain(0, 1).fate(false), Fate::Uncertain);
        assert_eq!(uncertain(1, 1).fate(false), Fate::Doubled);
    }
}
