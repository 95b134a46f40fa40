//! Finds the event whose results Kafka rejects. Kafka rejects the transaction as a whole and does
//! not say which record it cannot store, so the events are published one by one until the poison
//! event is found, which becomes a dead letter.

use std::collections::BTreeMap;

use formline_core::kafka::{record::Partition, transaction::TransactionError};

use crate::batch::{DeadLetterReason, Event, EventOutcome, Finished};

/// Which events must be published alone. It outlives the state of the partitions, which is rebuilt
/// after a rejected transaction.
#[derive(Debug, Default)]
pub(super) struct PoisonIsolation {
    /// The last offset of each partition that belongs to the rejected transaction.
    until: BTreeMap<Partition, i64>,
    poison: Option<PoisonEvent>,
}

/// An event whose results Kafka rejects.
#[derive(Debug)]
struct PoisonEvent {
    partition: Partition,
    offset: i64,
    detail: String,
}

/// The code of the poison event's dead letter.
const REJECTED: &str = "refused-by-kafka";

// === impl PoisonIsolation ===

impl PoisonIsolation {
    /// Records a rejected transaction. False if isolation cannot help because the transaction was a
    /// single dead letter: then its topic must accept larger records, and the worker retries until
    /// it does.
    pub(super) fn record_rejection(
        &mut self,
        round: &[Finished],
        error: &TransactionError,
    ) -> bool {
        let mut events = round
            .iter()
            .flat_map(|finished| finished.events.iter().map(move |one| (finished, one)));
        match (events.next(), events.next()) {
            (Some((_, (_, EventOutcome::DeadLettered(_)))), None) | (None, _) => false,
            (Some((finished, (event, _))), None) => {
                self.poison = Some(PoisonEvent {
                    partition: finished.source.partition.clone(),
                    offset: event.record.offset,
                    detail: error.to_string(),
                });
                true
            }
            (Some(_), Some(_)) => {
                let last = |finished: &Finished| {
                    (
                        finished.source.partition.clone(),
                        finished.next_offset() - 1,
                    )
                };
                self.until.extend(round.iter().map(last));
                true
            }
        }
    }

    /// Whether this event must be published in a transaction of its own.
    pub(super) fn must_isolate(&self, event: &Event) -> bool {
        let last = self.until.get(&event.record.partition);
        last.is_some_and(|last| event.record.offset <= *last)
            || self.dead_letter_reason(event).is_some()
    }

    /// Why this event becomes a dead letter, if it is the poison event.
    pub(super) fn dead_letter_reason(&self, event: &Event) -> Option<DeadLetterReason> {
        let poison = self.poison.as_ref()?;
        let (partition, offset) = (&event.record.partition, event.record.offset);
        (poison.partition == *partition && poison.offset == offset).then(|| DeadLetterReason {
            kind: REJECTED,
            code: REJECTED.to_owned(),
            detail: poison.detail.clone(),
            attempts: event.attempts + 1,
        })
    }

    /// Forgets everything before the committed offset `next`.
    pub(super) fn committed(&mut self, partition: &Partition, next: i64) {
        if self.until.get(partition).is_some_and(|last| *last < next) {
            self.until.remove(partition);
        }
        let is_past = |poison: &PoisonEvent| poison.partition == *partition && poison.offset < next;
        if self.poison.as_ref().is_some_and(is_past) {
            self.poison = None;
        }
    }
}
