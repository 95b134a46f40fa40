//! Ids of events: by time for new ones, by derivation where a repetition must yield the same id.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The `ce_id` of a record, a UUID for life.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EventId(Uuid);

// === impl EventId ===

impl EventId {
    /// A new id that begins with the time (UUIDv7, RFC 9562).
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of a submission with an `Idempotency-Key`: the same for the same form and key, in every process.
    pub fn keyed(form: &str, key: &str) -> Self {
        Self::hashed(&[b"keyed", form.as_bytes(), key.as_bytes()])
    }

    /// The id of the `n`th record that a step sends to a port while it works on `input`. A replay yields the same.
    pub fn derived(input: &[u8], step: &str, port: &str, n: u32) -> Self {
        Self::hashed(&[
            b"derived",
            input,
            step.as_bytes(),
            port.as_bytes(),
            &n.to_be_bytes(),
        ])
    }

    /// When it was made, to the millisecond; none for a derived id.
    pub fn time(&self) -> Option<Timestamp> {
        let (seconds, nanoseconds) = self.0.get_timestamp()?.to_unix();
        let (seconds, nanoseconds) = (seconds.try_into().ok()?, nanoseconds.try_into().ok()?);
        Timestamp::new(seconds, nanoseconds).ok()
    }

    /// The UUID's 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// A UUIDv8 (RFC 9562, custom) from the hash of all parts. Each part is preceded by its length, so that no two
    /// lists of parts look alike.
    fn hashed(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl Default for EventId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for EventId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_yields_the_same_id_and_nothing_else_does() {
        let id = EventId::derived(b"input", "rows", "out", 1);
        assert_eq!(id, EventId::derived(b"input", "rows", "out", 1));
        for other in [
            EventId::derived(b"input", "rows", "out", 2),
            EventId::derived(b"input", "rowso", "ut", 1),
            EventId::derived(b"inputr", "ows", "out", 1),
            EventId::keyed("input", "rows"),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn new_ids_sort_by_time_and_survive_as_text() {
        let (first, second) = (EventId::new(), EventId::new());
        assert!(first < second);
        assert_eq!(first.to_string().parse(), Ok(first));
        let age = Timestamp::now() - first.time().expect("it has a time");
        assert!((0..60).contains(&age.get_seconds()), "{age}");
        assert_eq!(EventId::keyed("form", "key").time(), None);
    }
}
