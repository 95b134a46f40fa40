//! The records of one partition: which one is next, and up to where the partition is done.

use std::collections::{BTreeSet, VecDeque};

use jiff::Timestamp;

use super::attempt::Attempt;

/// The records of one partition.
#[derive(Debug, Default)]
pub(super) struct PartitionQueue {
    /// In the order of their offsets.
    waiting: VecDeque<Attempt>,
    /// Offsets of records whose delivery is in flight.
    in_flight: BTreeSet<i64>,
    is_full: bool,
    /// Behind the last record that was read.
    read: i64,
    /// Everything before this offset is done.
    done: i64,
    /// The consumer was sought, and no record has arrived since. A position from before the seek
    /// would declare records done that are read again. librdkafka's seek makes the position
    /// invalid, so that the consumer reports none; this is a defence in case it does report one.
    is_position_stale: bool,
}

/// Limit of waiting records. At the limit the partition is paused until half of them are gone; the
/// membership continues. If all of them are due later than one behind them, as after a change of
/// the schedule, that one waits with them.
const MAX_WAITING: usize = 100;

// === impl PartitionQueue ===

impl PartitionQueue {
    /// A queue that continues at the committed offset. `is_position_stale` says that the consumer
    /// was sought: positions are ignored until the first record arrives.
    pub(super) fn new(committed: i64, is_position_stale: bool) -> Self {
        Self {
            read: committed,
            done: committed,
            is_position_stale,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, attempt: Attempt) {
        self.read = attempt.offset + 1;
        self.is_position_stale = false;
        self.waiting.push_back(attempt);
        self.is_full |= self.waiting.len() >= MAX_WAITING;
    }

    /// Whether the partition must be paused.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Records that are not done.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// The next record that is due, if fewer than `limit` are in flight.
    pub(super) fn begin(&mut self, limit: usize, now: Timestamp) -> Option<Attempt> {
        if self.in_flight.len() >= limit {
            return None;
        }
        let due = self
            .waiting
            .iter()
            .position(|attempt| attempt.is_due(now))?;
        let attempt = self.waiting.remove(due)?;
        self.in_flight.insert(attempt.offset);
        self.is_full &= self.waiting.len() >= MAX_WAITING / 2;
        Some(attempt)
    }

    /// Marks a delivery as done. Returns the offset up to which the partition is done, if it has
    /// advanced.
    pub(super) fn finish(&mut self, offset: i64) -> Option<i64> {
        if !self.in_flight.remove(&offset) {
            return None;
        }
        let waiting = self.waiting.front().map(|attempt| attempt.offset);
        let in_flight = self.in_flight.first().copied();
        let next = in_flight.into_iter().chain(waiting).min();
        self.advance_to(next.unwrap_or(self.read))
    }

    /// Takes the position of the consumer: where no record waits, control records before it are
    /// done, too.
    pub(super) fn skip_to(&mut self, position: i64) -> Option<i64> {
        if self.len() > 0 || self.is_position_stale {
            return None;
        }
        self.read = self.read.max(position);
        self.advance_to(position)
    }

    fn advance_to(&mut self, next: i64) -> Option<i64> {
        (next > self.done).then(|| {
            self.done = next;
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use formline_core::{Record, event::header, kafka::record::Partition};

    use super::*;

    fn attempt(offset: i64, due: i64) -> Attempt {
        let partition = Partition {
            topic: "topic".into(),
            number: 0,
        };
        let retry = format!(
            r#"{{"topic":"t","partition":0,"offset":0,"attempt":2,"doubts":0,"due":{due}}}"#
        );
        let headers = [(header::RETRY, retry.as_bytes())];
        Attempt::of(Record::new(partition, offset, 0, None, None, &headers))
    }

    fn queue() -> PartitionQueue {
        let mut queue = PartitionQueue::new(3, false);
        for (offset, due) in [(3, 0), (4, 50), (7, 0), (8, 0)] {
            queue.push(attempt(offset, due));
        }
        queue
    }

    fn begin(queue: &mut PartitionQueue, now: i64) -> Option<i64> {
        let now = Timestamp::from_millisecond(now).expect("a time");
        queue.begin(2, now).map(|attempt| attempt.offset)
    }

    #[test]
    fn due_records_overtake_later_ones_up_to_a_limit() {
        let mut queue = queue();
        assert_eq!(begin(&mut queue, 1), Some(3));
        assert_eq!(begin(&mut queue, 1), Some(7));
        assert_eq!(begin(&mut queue, 1), None, "two are in flight");
        queue.finish(7);
        assert_eq!(begin(&mut queue, 1), Some(8));
        queue.finish(8);
        assert_eq!(begin(&mut queue, 49), None);
        assert_eq!(begin(&mut queue, 50), Some(4));
    }

    #[test]
    fn a_partition_advances_over_done_records_without_a_gap() {
        let mut queue = queue();
        assert_eq!(begin(&mut queue, 1), Some(3));
        assert_eq!(queue.finish(3), Some(4), "4 waits");
        assert_eq!(queue.finish(3), None, "it was done already");
        assert_eq!(begin(&mut queue, 1), Some(7));
        assert_eq!(begin(&mut queue, 50), Some(4));
        assert_eq!(queue.finish(7), None);
        assert_eq!(queue.finish(4), Some(8));
        assert_eq!(begin(&mut queue, 50), Some(8));
        assert_eq!(queue.finish(8), Some(9));
    }

    #[test]
    fn control_records_are_skipped_only_where_no_record_waits() {
        let mut queue = queue();
        assert_eq!(queue.skip_to(12), None);
        for offset in [3, 4, 7, 8] {
            assert_eq!(begin(&mut queue, 50), Some(offset));
            queue.finish(offset);
        }
        assert_eq!((queue.skip_to(12), queue.skip_to(12)), (Some(12), None));
        let mut sought = PartitionQueue::new(3, true);
        assert_eq!(
            sought.skip_to(12),
            None,
            "no record has arrived since the seek"
        );
    }

    #[test]
    fn a_full_queue_has_room_again_when_half_of_it_is_gone() {
        let mut queue = PartitionQueue::default();
        for offset in 0..100 {
            assert!(!queue.is_full());
            queue.push(attempt(offset, 0));
        }
        for offset in 0..51 {
            assert!(queue.is_full());
            assert_eq!(begin(&mut queue, 1), Some(offset));
            queue.finish(offset);
        }
        assert!(!queue.is_full());
    }
}
