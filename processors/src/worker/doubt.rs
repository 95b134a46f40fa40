//! What a worker remembers of a transaction that Kafka has refused: one of its records cannot be written, and Kafka does
//! not say which. The events behind it are published one by one, until the one is found that has to be parked.

use std::collections::BTreeMap;

use formline_core::{record::Partition, transaction};

use crate::batch::{Event, Finished, Outcome, Parked};

/// What is doubtful now. It outlives the state of the partitions, which a refused transaction costs.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// The last doubtful offset of each partition.
    until: BTreeMap<Partition, i64>,
    culprit: Option<Culprit>,
}

/// An event whose results Kafka does not take.
#[derive(Debug)]
struct Culprit {
    partition: Partition,
    offset: i64,
    detail: String,
}

/// The code of its dead letter.
pub(super) const REFUSED: &str = "refused-by-kafka";

// === impl Doubt ===

impl Doubt {
    /// Learns from a transaction that was refused, and says whether that helps. It does not if it was a lone dead letter:
    /// then its topic has to take larger records, and the worker tries again until it does.
    pub(super) fn note(&mut self, round: &[Finished], refusal: &transaction::Error) -> bool {
        let mut settled = round
            .iter()
            .flat_map(|finished| finished.settled.iter().map(move |one| (finished, one)));
        match (settled.next(), settled.next()) {
            (Some((_, (_, Outcome::Parked(_)))), None) | (None, _) => false,
            (Some((finished, (event, _))), None) => {
                self.culprit = Some(Culprit {
                    partition: finished.source.partition.clone(),
                    offset: event.record.offset,
                    detail: refusal.to_string(),
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

    /// Whether this event has to be in a transaction of its own.
    pub(super) fn concerns(&self, event: &Event) -> bool {
        let last = self.until.get(&event.record.partition);
        last.is_some_and(|last| event.record.offset <= *last) || self.verdict(event).is_some()
    }

    /// What to do with an event that was found out.
    pub(super) fn verdict(&self, event: &Event) -> Option<Parked> {
        let culprit = self.culprit.as_ref()?;
        let (partition, offset) = (&event.record.partition, event.record.offset);
        (culprit.partition == *partition && culprit.offset == offset).then(|| Parked {
            kind: REFUSED,
            code: REFUSED.to_owned(),
            detail: culprit.detail.clone(),
            attempts: event.attempts + 1,
        })
    }

    /// What lies before `next` is committed.
    pub(super) fn forget(&mut self, partition: &Partition, next: i64) {
        if self.until.get(partition).is_some_and(|last| *last < next) {
            self.until.remove(partition);
        }
        let is_past = |culprit: &Culprit| culprit.partition == *partition && culprit.offset < next;
        if self.culprit.as_ref().is_some_and(is_past) {
            self.culprit = None;
        }
    }
}
