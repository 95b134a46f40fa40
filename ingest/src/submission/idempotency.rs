//! The idempotency keys of the last 24 hours (`dedup::WINDOW`), and the state of their
//! submissions.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry as Slot},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use formline_core::{EventId, event::dedup};
use jiff::Timestamp;

use crate::problem::{Problem, ProblemKind};

/// The keys of all forms that this process serves.
#[derive(Debug, Default)]
pub(crate) struct IdempotencyKeys {
    table: Mutex<Table>,
    /// Whether the window has been restored from the log.
    restored: AtomicBool,
}

/// The exclusive right to send the submission of a key. Dropping it without `complete` leaves the
/// key in `KeyState::Unknown`.
#[derive(Debug)]
pub(crate) struct Reservation {
    keys: Arc<IdempotencyKeys>,
    id: EventId,
    outcome: KeyState,
}

/// What to do with a submission that has a key.
#[derive(Debug)]
pub(crate) enum Reserved {
    /// Send the submission.
    Fresh(Reservation),
    /// Do not send it: it was accepted at this time.
    Accepted(Timestamp),
}

/// The state of the submission of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyState {
    /// The submission is being sent.
    Sending,
    /// The submission may be in the log. The same body may be sent again, because its record has
    /// the same id.
    Unknown,
    /// The submission is in the log.
    Accepted(Timestamp),
    /// The submission is not in the log, so the key is free.
    Unsent,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<EventId, Entry>,
    /// The entries that are not being sent, oldest first.
    by_time: BTreeSet<(Timestamp, EventId)>,
}

#[derive(Debug)]
struct Entry {
    fingerprint: Box<str>,
    state: KeyState,
    completed: Timestamp,
}

/// Maximum number of keys, which takes about 250 MiB. Above it, the oldest keys are evicted before
/// the window ends: a repeated submission is then sent again with the same id, and the consumers of
/// the topic drop it as a duplicate.
const MAX_KEYS: usize = 1_000_000;

// === impl IdempotencyKeys ===

impl IdempotencyKeys {
    /// Reserves a key, identified by the submission id that is derived from it.
    ///
    /// # Errors
    ///
    /// 503 until the window is restored, 409 while another request sends the submission, and 422 if
    /// the key was used with another body.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        id: EventId,
        fingerprint: &str,
    ) -> Result<Reserved, Problem> {
        if !self.restored.load(Ordering::Acquire) {
            let detail =
                "earlier keys are still being restored; retry with the same Idempotency-Key";
            return Err(Problem::new(ProblemKind::Unavailable, detail));
        }
        match self.lock().reserve(id, fingerprint)? {
            Some(accepted) => Ok(Reserved::Accepted(accepted)),
            None => Ok(Reserved::Fresh(Reservation {
                keys: Arc::clone(self),
                id,
                outcome: KeyState::Unknown,
            })),
        }
    }

    /// Inserts a key from the log. Only the first record of an id counts.
    pub(crate) fn insert_accepted(&self, id: EventId, fingerprint: &str, time: Timestamp) {
        let mut table = self.lock();
        if let Slot::Vacant(slot) = table.entries.entry(id) {
            slot.insert(Entry {
                fingerprint: fingerprint.into(),
                state: KeyState::Accepted(time),
                completed: time,
            });
            table.by_time.insert((time, id));
            table.evict(Timestamp::now());
        }
    }

    /// Accepts submissions with keys from now on: all keys of the window have been inserted.
    pub(crate) fn mark_restored(&self) {
        self.restored.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No code panics while it holds the lock, so the table is always consistent.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Table ===

impl Table {
    /// Marks the key as being sent, or returns the time at which its submission was accepted.
    fn reserve(&mut self, id: EventId, fingerprint: &str) -> Result<Option<Timestamp>, Problem> {
        let now = Timestamp::now();
        self.evict(now);
        let Some(entry) = self.entries.get_mut(&id) else {
            let entry = Entry {
                fingerprint: fingerprint.into(),
                state: KeyState::Sending,
                completed: now,
            };
            self.entries.insert(id, entry);
            return Ok(None);
        };
        if *entry.fingerprint != *fingerprint {
            let detail = "this Idempotency-Key was used with another body; use a new key for each \
                          submission";
            return Err(Problem::new(ProblemKind::KeyReused, detail));
        }
        match entry.state {
            KeyState::Accepted(time) => Ok(Some(time)),
            KeyState::Sending => {
                let detail = "a request with this Idempotency-Key is still being processed";
                Err(Problem::new(ProblemKind::InProgress, detail))
            }
            KeyState::Unknown | KeyState::Unsent => {
                entry.state = KeyState::Sending;
                self.by_time.remove(&(entry.completed, id));
                Ok(None)
            }
        }
    }

    fn complete(&mut self, id: EventId, state: KeyState, now: Timestamp) {
        if state == KeyState::Unsent {
            self.entries.remove(&id);
        } else if let Some(entry) = self.entries.get_mut(&id) {
            (entry.state, entry.completed) = (state, now);
            self.by_time.insert((now, id));
        }
    }

    /// Removes the keys that are older than the window, and the oldest ones above `MAX_KEYS`.
    fn evict(&mut self, now: Timestamp) {
        while let Some((completed, id)) = self.by_time.first().copied() {
            let expired = now.duration_since(completed).unsigned_abs() > dedup::WINDOW;
            if !expired && self.by_time.len() <= MAX_KEYS {
                break;
            }
            self.by_time.pop_first();
            self.entries.remove(&id);
        }
    }
}

// === impl Reservation ===

impl Reservation {
    /// Records how the attempt to send ended.
    pub(crate) fn complete(mut self, outcome: KeyState) {
        self.outcome = outcome;
    }
}

/// Also runs when the sending task panics, so that no key stays in `KeyState::Sending`.
impl Drop for Reservation {
    fn drop(&mut self) {
        self.keys
            .lock()
            .complete(self.id, self.outcome, Timestamp::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Arc<IdempotencyKeys> {
        let keys = Arc::new(IdempotencyKeys::default());
        keys.mark_restored();
        keys
    }

    fn reserve(keys: &Arc<IdempotencyKeys>, fingerprint: &str) -> Result<Reserved, ProblemKind> {
        let id = EventId::keyed("form", "key");
        keys.reserve(id, fingerprint)
            .map_err(|problem| problem.kind)
    }

    fn fresh(keys: &Arc<IdempotencyKeys>, fingerprint: &str) -> Reservation {
        match reserve(keys, fingerprint) {
            Ok(Reserved::Fresh(reservation)) => reservation,
            other => panic!("not fresh: {other:?}"),
        }
    }

    #[test]
    fn an_accepted_key_is_not_sent_again() {
        let keys = keys();
        let first = fresh(&keys, "a");
        assert!(matches!(reserve(&keys, "a"), Err(ProblemKind::InProgress)));
        assert!(matches!(reserve(&keys, "b"), Err(ProblemKind::KeyReused)));
        let time = Timestamp::now();
        first.complete(KeyState::Accepted(time));
        assert!(matches!(reserve(&keys, "a"), Ok(Reserved::Accepted(known)) if known == time));
        assert!(matches!(reserve(&keys, "b"), Err(ProblemKind::KeyReused)));
    }

    #[test]
    fn an_unsent_key_is_free_and_an_unknown_one_only_for_the_same_body() {
        let keys = keys();
        fresh(&keys, "a").complete(KeyState::Unsent);
        fresh(&keys, "b").complete(KeyState::Unknown);
        assert!(matches!(reserve(&keys, "a"), Err(ProblemKind::KeyReused)));
        // A panic drops the reservation.
        drop(fresh(&keys, "b"));
        fresh(&keys, "b").complete(KeyState::Accepted(Timestamp::now()));
        assert!(matches!(reserve(&keys, "b"), Ok(Reserved::Accepted(_))));
        assert_eq!(keys.lock().by_time.len(), 1);
    }

    #[test]
    fn keys_are_rejected_until_they_are_restored_from_the_log() {
        let keys = Arc::new(IdempotencyKeys::default());
        assert!(matches!(reserve(&keys, "a"), Err(ProblemKind::Unavailable)));
        let time = Timestamp::now();
        let later = time + jiff::SignedDuration::from_secs(1);
        keys.insert_accepted(EventId::keyed("form", "key"), "a", time);
        keys.insert_accepted(EventId::keyed("form", "key"), "a", later);
        keys.mark_restored();
        assert!(matches!(reserve(&keys, "a"), Ok(Reserved::Accepted(known)) if known == time));
    }

    #[test]
    fn keys_are_evicted_after_the_window() {
        let keys = keys();
        let window = jiff::SignedDuration::try_from(dedup::WINDOW).expect("a window of one day");
        keys.insert_accepted(
            EventId::keyed("form", "key"),
            "a",
            Timestamp::now() - window * 2,
        );
        drop(fresh(&keys, "b"));
    }
}
