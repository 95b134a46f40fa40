//! `Idempotency-Key`: what a key looks like, and which ones were used within the window.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry as Slot},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::http::{HeaderMap, HeaderName};
use formline_core::{EventId, duplicates};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::problem::{Kind, Problem};

/// The keys of all forms of this process.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    table: Mutex<Table>,
    /// Whether the window has been read from the log.
    known: AtomicBool,
}

/// A key that this request alone may send. Dropped without `settle`, it counts as sent without an answer.
#[derive(Debug)]
pub(crate) struct Reservation {
    keys: Arc<Keys>,
    id: EventId,
    outcome: State,
}

/// What a key is good for.
#[derive(Debug)]
pub(crate) enum Reserved {
    /// Send the submission.
    Fresh(Reservation),
    /// It was accepted at that time; answer so.
    Accepted(Timestamp),
}

/// How the sending of a reserved key ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Being sent.
    Sending,
    /// Perhaps in the log. The same body may be sent again: its record has the same id.
    Unknown,
    /// In the log.
    Accepted(Timestamp),
    /// Certainly not in the log: the key is free.
    Unsent,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<EventId, Entry>,
    /// Settled entries, oldest first.
    by_time: BTreeSet<(Timestamp, EventId)>,
}

#[derive(Debug)]
struct Entry {
    fingerprint: Box<str>,
    state: State,
    settled: Timestamp,
}

/// The request header.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a key looks like, for the description of the service; `content` says the same in code.
pub(crate) const PATTERN: &str =
    r#"^([!#-+\-./0-:<-\[\]-~]{1,255}|"([ !#-\[\]-~]|\\["\\]){1,255}")$"#;

/// Longest key in characters.
const LENGTH: usize = 255;

/// At most so many keys are known, about 250 MiB. Beyond, the oldest are forgotten before their time: a repetition is
/// then sent again under the same id, and dropped by whoever consumes the topic.
const LIMIT: usize = 1_000_000;

/// The key that the request brings: a string as the IETF draft wants it (`"…"`, RFC 8941) or the bare text that most
/// clients send. Both forms of one text are one key.
pub(crate) fn of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().ok().and_then(content);
    match (key, values.next()) {
        (Some(key), None) => Ok(Some(key)),
        _ => Err(Problem::new(
            Kind::BadIdempotencyKey,
            "send one key of 1 to 255 printable ASCII characters, bare or as a quoted string",
        )),
    }
}

fn content(text: &str) -> Option<String> {
    let quoted = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let key = match quoted {
        Some(inner) => unescape(inner)?,
        None if text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)) =>
        {
            text.to_owned()
        }
        None => return None,
    };
    (1..=LENGTH).contains(&key.len()).then_some(key)
}

/// The content of a quoted string, in which only `\"` and `\\` are escapes.
fn unescape(inner: &str) -> Option<String> {
    let mut key = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        key.push(match c {
            '\\' => characters
                .next()
                .filter(|next| matches!(next, '"' | '\\'))?,
            ' '..='~' if c != '"' => c,
            _ => return None,
        });
    }
    Some(key)
}

/// The hash by which two bodies of one key are compared.
pub(crate) fn fingerprint(accepted: &[u8]) -> String {
    Sha256::digest(accepted)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

// === impl Keys ===

impl Keys {
    /// Reserves a key, by the submission's id that follows from it.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        id: EventId,
        fingerprint: &str,
    ) -> Result<Reserved, Problem> {
        if !self.known.load(Ordering::Acquire) {
            let detail = "earlier keys are still being read; retry with the same Idempotency-Key";
            return Err(Problem::new(Kind::Unavailable, detail));
        }
        match self.lock().take(id, fingerprint)? {
            Some(accepted) => Ok(Reserved::Accepted(accepted)),
            None => Ok(Reserved::Fresh(Reservation {
                keys: Arc::clone(self),
                id,
                outcome: State::Unknown,
            })),
        }
    }

    /// Notes a key that is in the log. The first record of an id is the submission.
    pub(crate) fn note(&self, id: EventId, fingerprint: &str, time: Timestamp) {
        let mut table = self.lock();
        if let Slot::Vacant(slot) = table.entries.entry(id) {
            slot.insert(Entry {
                fingerprint: fingerprint.into(),
                state: State::Accepted(time),
                settled: time,
            });
            table.by_time.insert((time, id));
            table.forget_old(Timestamp::now());
        }
    }

    /// All keys of the window are noted: from now on keys are taken.
    pub(crate) fn are_known(&self) {
        self.known.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No code panics while it holds the lock, and a table is never half changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Table ===

impl Table {
    /// Marks the key as being sent, unless it was accepted already; then it returns when.
    fn take(&mut self, id: EventId, fingerprint: &str) -> Result<Option<Timestamp>, Problem> {
        let now = Timestamp::now();
        self.forget_old(now);
        let Some(entry) = self.entries.get_mut(&id) else {
            let (fingerprint, state) = (fingerprint.into(), State::Sending);
            self.entries.insert(
                id,
                Entry {
                    fingerprint,
                    state,
                    settled: now,
                },
            );
            return Ok(None);
        };
        if *entry.fingerprint != *fingerprint {
            let detail =
                "this Idempotency-Key came with another body before; use one for each submission";
            return Err(Problem::new(Kind::KeyReused, detail));
        }
        match entry.state {
            State::Accepted(time) => Ok(Some(time)),
            State::Sending => {
                let detail = "a request with this Idempotency-Key is still being processed";
                Err(Problem::new(Kind::InProgress, detail))
            }
            State::Unknown | State::Unsent => {
                entry.state = State::Sending;
                self.by_time.remove(&(entry.settled, id));
                Ok(None)
            }
        }
    }

    fn settle(&mut self, id: EventId, state: State, now: Timestamp) {
        if state == State::Unsent {
            self.entries.remove(&id);
        } else if let Some(entry) = self.entries.get_mut(&id) {
            (entry.state, entry.settled) = (state, now);
            self.by_time.insert((now, id));
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some((settled, id)) = self.by_time.first().copied() {
            let expired = now.duration_since(settled).unsigned_abs() > duplicates::WINDOW;
            if !expired && self.by_time.len() <= LIMIT {
                break;
            }
            self.by_time.pop_first();
            self.entries.remove(&id);
        }
    }
}

// === impl Reservation ===

impl Reservation {
    /// Says how the sending ended.
    pub(crate) fn settle(mut self, outcome: State) {
        self.outcome = outcome;
    }
}

/// Also when the sending task panics: no key stays in progress.
impl Drop for Reservation {
    fn drop(&mut self) {
        self.keys
            .lock()
            .settle(self.id, self.outcome, Timestamp::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Arc<Keys> {
        let keys = Arc::new(Keys::default());
        keys.are_known();
        keys
    }

    fn reserve(keys: &Arc<Keys>, fingerprint: &str) -> Result<Reserved, Kind> {
        let id = EventId::keyed("form", "key");
        keys.reserve(id, fingerprint)
            .map_err(|problem| problem.kind)
    }

    fn fresh(keys: &Arc<Keys>, fingerprint: &str) -> Reservation {
        match reserve(keys, fingerprint) {
            Ok(Reserved::Fresh(reservation)) => reservation,
            other => panic!("not fresh: {other:?}"),
        }
    }

    #[test]
    fn a_key_is_sent_once_and_then_answered_from_memory() {
        let keys = keys();
        let first = fresh(&keys, "a");
        assert!(matches!(reserve(&keys, "a"), Err(Kind::InProgress)));
        assert!(matches!(reserve(&keys, "b"), Err(Kind::KeyReused)));
        let time = Timestamp::now();
        first.settle(State::Accepted(time));
        assert!(matches!(reserve(&keys, "a"), Ok(Reserved::Accepted(known)) if known == time));
        assert!(matches!(reserve(&keys, "b"), Err(Kind::KeyReused)));
    }

    #[test]
    fn a_failed_key_is_free_and_a_doubtful_one_only_for_the_same_body() {
        let keys = keys();
        fresh(&keys, "a").settle(State::Unsent);
        fresh(&keys, "b").settle(State::Unknown);
        assert!(matches!(reserve(&keys, "a"), Err(Kind::KeyReused)));
        drop(fresh(&keys, "b")); // as a panic would
        fresh(&keys, "b").settle(State::Accepted(Timestamp::now()));
        assert!(matches!(reserve(&keys, "b"), Ok(Reserved::Accepted(_))));
        assert_eq!(keys.lock().by_time.len(), 1);
    }

    #[test]
    fn nothing_is_sent_before_the_log_was_read_and_its_keys_are_known_then() {
        let keys = Arc::new(Keys::default());
        assert!(matches!(reserve(&keys, "a"), Err(Kind::Unavailable)));
        let time = Timestamp::now();
        let later = time + jiff::SignedDuration::from_secs(1);
        keys.note(EventId::keyed("form", "key"), "a", time);
        keys.note(EventId::keyed("form", "key"), "a", later);
        keys.are_known();
        assert!(matches!(reserve(&keys, "a"), Ok(Reserved::Accepted(known)) if known == time));
    }

    #[test]
    fn keys_are_forgotten_after_the_window() {
        let keys = keys();
        let window = jiff::SignedDuration::try_from(duplicates::WINDOW).expect("a day");
        keys.note(
            EventId::keyed("form", "key"),
            "a",
            Timestamp::now() - window * 2,
        );
        drop(fresh(&keys, "b"));
    }

    #[test]
    fn keys_are_quoted_or_bare() {
        assert_eq!(content("8e03978e-40d5"), Some("8e03978e-40d5".to_owned()));
        assert_eq!(
            content(r#""a \"b\" \\ c""#),
            Some(r#"a "b" \ c"#.to_owned())
        );
        for wrong in [
            "",
            "\"\"",
            "\"",
            "a b",
            "a,b",
            "a;b",
            "a\"",
            r#""a\b""#,
            "ä",
            &"x".repeat(256),
        ] {
            assert_eq!(content(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_pattern_says_the_same_as_the_code() {
        let schema = serde_json::json!({ "type": "string", "pattern": PATTERN });
        let schema = formline_core::schema::Schema::compile(schema).expect("a schema");
        let long = "x".repeat(256);
        let mut samples: Vec<String> = (' '..='~')
            .flat_map(|c| [format!("a{c}"), format!("\"a{c}\"")])
            .collect();
        samples.extend(
            [
                "",
                "\"\"",
                "\"\\\"\"",
                "\"\\\\\"",
                &long,
                &format!("\"{long}\""),
            ]
            .map(str::to_owned),
        );
        for sample in samples {
            let matches = schema.is_valid(&sample.as_str().into());
            assert_eq!(matches, content(&sample).is_some(), "{sample}");
        }
    }
}
