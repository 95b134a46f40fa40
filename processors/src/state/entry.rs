//! Keys and values of the stores, as they appear in memory, in the file and in the changelog.

use formline_core::EventId;
use formline_plugin_contract::is_alive;

/// The value of a key, with its expiry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) value: Vec<u8>,
    /// Events of this time or later do not see the entry; in milliseconds since 1970.
    pub(crate) expires_ms: Option<i64>,
}

/// What an entry counts in addition to its own bytes.
const OVERHEAD: u64 = 64;

/// The first byte of the keys of entries that are not in the changelog. Names of stores are shorter
/// than this length.
const LOCAL: u8 = u8::MAX;

// === impl Entry ===

impl Entry {
    /// An entry that does not expire.
    pub(crate) fn new(value: Vec<u8>) -> Self {
        Self {
            value,
            expires_ms: None,
        }
    }

    /// Whether an event of this time sees the entry.
    pub(super) fn is_alive(&self, now_ms: i64) -> bool {
        is_alive(self.expires_ms, now_ms)
    }

    /// What the entry counts towards the limit of its stores, in bytes.
    pub(super) fn size(&self, key: &[u8]) -> u64 {
        (key.len() + self.value.len()) as u64 + OVERHEAD
    }

    /// The expiry, followed by the value.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let expires_ms = self.expires_ms.unwrap_or(i64::MAX).to_be_bytes();
        [&expires_ms, self.value.as_slice()].concat()
    }

    /// None if the bytes are too short for an entry.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (expires_ms, value) = bytes.split_first_chunk()?;
        let expires_ms = i64::from_be_bytes(*expires_ms);
        Some(Self {
            value: value.to_vec(),
            expires_ms: (expires_ms != i64::MAX).then_some(expires_ms),
        })
    }
}

/// The changelog key of a store's key. The length comes first, so that stores whose names share a
/// prefix stay separate. The host's own entries belong to the store with an empty name.
pub(super) fn key(store: &str, key: &[u8]) -> Vec<u8> {
    let length = u8::try_from(store.len()).expect("a plug-in with a longer name is rejected");
    let mut full = Vec::with_capacity(1 + store.len() + key.len());
    full.push(length);
    full.extend_from_slice(store.as_bytes());
    full.extend_from_slice(key);
    full
}

/// The key of a topic's keyed submission, which only the file contains.
pub(super) fn submission(topic: &str, id: EventId) -> Vec<u8> {
    [&[LOCAL], topic.as_bytes(), &[0], id.as_bytes().as_slice()].concat()
}

/// Whether only the file contains the key.
pub(super) fn is_local(key: &[u8]) -> bool {
    key.first() == Some(&LOCAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// State files and changelogs of earlier releases contain exactly these bytes.
    #[test]
    fn stored_keys_and_entries_keep_their_form() {
        assert_eq!(key("seen", b"a"), b"\x04seena");
        let id = EventId::keyed("form", "key");
        let expected = [b"\xfftopic\0".as_slice(), id.as_bytes()].concat();
        assert_eq!(submission("topic", id), expected);
        assert!(is_local(&expected) && !is_local(b"\x04seena"));

        let lasting = Entry::new(b"v".to_vec());
        assert_eq!(lasting.to_bytes(), b"\x7f\xff\xff\xff\xff\xff\xff\xffv");
        let expiring = Entry {
            value: b"v".to_vec(),
            expires_ms: Some(258),
        };
        assert_eq!(expiring.to_bytes(), b"\0\0\0\0\0\0\x01\x02v");
        for entry in [lasting, expiring] {
            assert_eq!(Entry::from_bytes(&entry.to_bytes()), Some(entry));
        }
        assert_eq!(Entry::from_bytes(b"short"), None);
    }
}
