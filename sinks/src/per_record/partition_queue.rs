//! The records of one partition: which one is next, and how far the partition is done.

use std::collections::{BTreeSet, VecDeque};

use jiff::Timestamp;

use crate::attempt::Attempt;

/// The records of one partition.
#[derive(Default)]
pub(super) struct Lane {
    /// In the order of their offsets.
    pub(super) waiting: VecDeque<Attempt>,
    /// Offsets that a delivery is under way for.
    pub(super) busy: BTreeSet<i64>,
    pub(super) is_paused: bool,
    /// Behind the last record that was read.
    pub(super) read: i64,
    /// Where the partition goes on, as far as it is done.
    pub(super) done: i64,
}

// === impl Lane ===

impl Lane {
    /// The next record that is due, if fewer than `limit` are under way.
    pub(super) fn begin(&mut self, limit: usize, now: Timestamp) -> Option<Attempt> {
        if self.busy.len() >= limit {
            return None;
        }
        let due = self
            .waiting
            .iter()
            .position(|attempt| attempt.is_due(now))?;
        let attempt = self.waiting.remove(due)?;
        self.busy.insert(attempt.offset);
        Some(attempt)
    }

    /// A delivery has ended. Where the partition goes on, if that is further than before; none also if the delivery
    /// belongs to an earlier time when the partition was ours.
    pub(super) fn finish(&mut self, offset: i64) -> Option<i64> {
        if !self.busy.remove(&offset) {
            return None;
        }
        let waiting = self.waiting.front().map(|attempt| attempt.offset);
        let undone = self.busy.first().copied().into_iter().chain(waiting).min();
        let next = undone.unwrap_or(self.read);
        (next > self.done).then(|| {
            self.done = next;
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use formline_core::{Record, event::header, record::Partition};

    use super::*;

    fn attempt(offset: i64, due: i64) -> Attempt {
        let partition = Partition {
            topic: "topic".into(),
            number: 0,
        };
        let waiting = format!(
            r#"{{"topic":"t","partition":0,"offset":0,"attempt":2,"doubts":0,"due":{due}}}"#
        );
        let headers = [(header::RETRY, waiting.as_bytes())];
        Attempt::of(Record::new(partition, offset, 0, None, None, &headers))
    }

    fn lane() -> Lane {
        let waiting = [(3, 0), (4, 50), (7, 0), (8, 0)];
        Lane {
            waiting: waiting.map(|(offset, due)| attempt(offset, due)).into(),
            read: 9,
            done: 3,
            ..Lane::default()
        }
    }

    fn begin(lane: &mut Lane, now: i64) -> Option<i64> {
        let now = Timestamp::from_millisecond(now).expect("a time");
        lane.begin(2, now).map(|attempt| attempt.offset)
    }

    #[test]
    fn what_is_due_goes_past_what_is_not_up_to_a_limit() {
        let mut lane = lane();
        assert_eq!(begin(&mut lane, 1), Some(3));
        assert_eq!(begin(&mut lane, 1), Some(7));
        assert_eq!(begin(&mut lane, 1), None, "two are under way");
        lane.finish(7);
        assert_eq!(begin(&mut lane, 1), Some(8));
        lane.finish(8);
        assert_eq!(begin(&mut lane, 49), None);
        assert_eq!(begin(&mut lane, 50), Some(4));
    }

    #[test]
    fn a_partition_goes_on_behind_what_has_ended_without_a_gap() {
        let mut lane = lane();
        assert_eq!(begin(&mut lane, 1), Some(3));
        assert_eq!(lane.finish(3), Some(4), "4 waits");
        assert_eq!(lane.finish(3), None, "it had ended");
        assert_eq!(begin(&mut lane, 1), Some(7));
        assert_eq!(begin(&mut lane, 50), Some(4));
        assert_eq!(lane.finish(7), None);
        assert_eq!(lane.finish(4), Some(8));
        assert_eq!(begin(&mut lane, 50), Some(8));
        assert_eq!(lane.finish(8), Some(9));
    }
}
