//! Keys and values of the stores, as they are kept in memory, in the file and in the changelog.

use formline_core::EventId;

/// What stands under a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) value: Vec<u8>,
    /// Events with this time or a later one do not see it any more; in milliseconds since 1970.
    pub(crate) expires_ms: Option<i64>,
}

/// What an entry costs besides its bytes.
const OVERHEAD: u64 = 64;

/// Begins keys of entries that are not in the changelog. No name of a store is so long.
const LOCAL: u8 = u8::MAX;

// === impl Entry ===

impl Entry {
    /// An entry for good.
    pub(crate) fn new(value: Vec<u8>) -> Self {
        Self {
            value,
            expires_ms: None,
        }
    }

    /// Whether an event of this time sees it.
    pub(super) fn is_alive(&self, now_ms: i64) -> bool {
        self.expires_ms.is_none_or(|end| now_ms < end)
    }

    /// What it counts towards the limit of its stores.
    pub(super) fn size(&self, key: &[u8]) -> u64 {
        (key.len() + self.value.len()) as u64 + OVERHEAD
    }

    /// The end, then the value.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let end = self.expires_ms.unwrap_or(i64::MAX).to_be_bytes();
        [&end, self.value.as_slice()].concat()
    }

    /// None if these are no bytes of an entry.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (end, value) = bytes.split_first_chunk()?;
        let end = i64::from_be_bytes(*end);
        Some(Self {
            value: value.to_vec(),
            expires_ms: (end != i64::MAX).then_some(end),
        })
    }
}

/// The key of the changelog for a key of a store. The length in front keeps stores apart whose names begin alike; what
/// the host keeps for itself has a store without a name.
pub(super) fn key(store: &str, key: &[u8]) -> Vec<u8> {
    let length = u8::try_from(store.len()).expect("a plug-in with a longer name is refused");
    let mut full = Vec::with_capacity(1 + store.len() + key.len());
    full.push(length);
    full.extend_from_slice(store.as_bytes());
    full.extend_from_slice(key);
    full
}

/// The key for a submission of a topic, which only the file keeps.
pub(super) fn submission(topic: &str, id: EventId) -> Vec<u8> {
    [&[LOCAL], topic.as_bytes(), &[0], id.as_bytes().as_slice()].concat()
}

/// Whether only the file keeps what stands under the key.
pub(super) fn is_local(key: &[u8]) -> bool {
    key.first() == Some(&LOCAL)
}
