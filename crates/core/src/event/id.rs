//! Ids of events. A new event has an id that starts with the time; a derived one has an id that a
//! replay reproduces.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The `ce_id` of a record: a UUID that never changes.
///
/// ```
/// use formline_core::EventId;
///
/// let id = EventId::new();
/// assert_eq!(id.to_string().parse(), Ok(id));
/// assert_eq!(EventId::keyed("orders", "key-1"), EventId::keyed("orders", "key-1"));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EventId(Uuid);

// === impl EventId ===

impl EventId {
    /// Creates an id that starts with the present time (UUIDv7, RFC 9562).
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Returns the id of a submission with an `Idempotency-Key`. Every process derives the same id
    /// from the same form and key.
    pub fn keyed(form: &str, key: &str) -> Self {
        Self::hashed(&[b"keyed", form.as_bytes(), key.as_bytes()])
    }

    /// Returns the id of the `n`th record that a step sends to a port while it processes `input`. A
    /// replay derives the same id.
    pub fn derived(input: &[u8], step: &str, port: &str, n: u32) -> Self {
        Self::hashed(&[
            b"derived",
            input,
            step.as_bytes(),
            port.as_bytes(),
            &n.to_be_bytes(),
        ])
    }

    /// Returns the time of creation in milliseconds, or `None` for a derived id.
    pub fn time(&self) -> Option<Timestamp> {
        let (seconds, nanoseconds) = self.0.get_timestamp()?.to_unix();
        let (seconds, nanoseconds) = (seconds.try_into().ok()?, nanoseconds.try_into().ok()?);
        Timestamp::new(seconds, nanoseconds).ok()
    }

    /// Returns the 16 bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Returns a UUIDv8 (RFC 9562, custom) from the hash of all parts. Each part follows its
    /// length, so that two different lists of parts never have the same input.
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
    fn only_the_same_input_yields_the_same_id() {
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
    fn new_ids_sort_by_time_and_round_trip_as_text() {
        let (first, second) = (EventId::new(), EventId::new());
        assert!(first < second);
        assert_eq!(first.to_string().parse(), Ok(first));
        let age = Timestamp::now() - first.time().expect("a new id has a time");
        assert!((0..60).contains(&age.get_seconds()), "{age}");
        assert_eq!(EventId::keyed("form", "key").time(), None);
    }

    #[test]
    fn derived_ids_keep_their_wire_form() {
        let keyed = EventId::keyed("form", "key");
        assert_eq!(keyed.to_string(), "34b2e1b9-e52a-84cd-9814-107d50525174");
        let derived = EventId::derived(b"input", "rows", "out", 1);
        assert_eq!(derived.to_string(), "d42710bc-1976-8092-83b9-78d4f0e28d69");
    }
}
