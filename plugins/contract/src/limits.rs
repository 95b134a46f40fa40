//! How much one event may send and store.

use std::time::Duration;

/// Upper bounds for one event, one record, one entry and one scan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of a record's key, value and own headers together; see [`record_bytes`].
    pub record_bytes: usize,
    /// Bytes of an entry's key and value together. An entry becomes one changelog record.
    pub entry_bytes: usize,
    /// Records that one event may send.
    pub event_records: usize,
    /// Bytes that one event may send and store together.
    pub event_bytes: usize,
    /// Bytes of keys and values that one scan may return.
    pub scan_bytes: usize,
}

/// What the current event has sent and stored so far.
///
/// ```
/// use formline_plugin_contract::{EventBudget, LIMITS, Limits, Refusal};
///
/// let limits = Limits { event_records: 1, ..LIMITS };
/// let mut budget = EventBudget::default();
/// assert_eq!(budget.send(10, &limits), Ok(()));
/// assert_eq!(budget.send(10, &limits), Err(Refusal::QuotaExceeded));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct EventBudget {
    records: usize,
    bytes: usize,
}

/// Why the host does not accept a record or an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The record or entry alone exceeds its limit.
    TooLarge,
    /// The event has sent or stored too much in total.
    QuotaExceeded,
}

/// The limits of every step.
///
/// Kafka accepts records of 1,000,000 bytes by default; the difference to `record_bytes` is
/// reserved for the headers that the host writes.
pub const LIMITS: Limits = Limits {
    record_bytes: 960_000,
    entry_bytes: 960_000,
    event_records: 1000,
    event_bytes: 8 << 20,
    scan_bytes: 16 << 20,
};

/// What a record counts towards [`Limits::event_bytes`] in addition to its own bytes.
pub const RECORD_OVERHEAD: usize = 128;

/// The longest delay of `retry-later`. The rest of the partition waits for the event, so a longer
/// delay is shortened to this one.
pub const LONGEST_RETRY: Duration = Duration::from_secs(60 * 60);

/// Bytes of a record as [`Limits::record_bytes`] counts them. A record without a key of its own
/// gets the event's key, which does not count.
pub fn record_bytes<'a>(
    key: Option<&[u8]>,
    value: &[u8],
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> usize {
    let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
    key.map_or(0, <[u8]>::len) + value.len() + headers
}

// === impl Limits ===

impl Limits {
    /// Checks the size of one record, in bytes.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`].
    pub fn check_record(&self, bytes: usize) -> Result<(), Refusal> {
        check(bytes, self.record_bytes)
    }

    /// Checks the size of one entry, in bytes of its key and value.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`].
    pub fn check_entry(&self, bytes: usize) -> Result<(), Refusal> {
        check(bytes, self.entry_bytes)
    }
}

fn check(bytes: usize, limit: usize) -> Result<(), Refusal> {
    if bytes > limit {
        return Err(Refusal::TooLarge);
    }
    Ok(())
}

// === impl EventBudget ===

impl EventBudget {
    /// Counts a record of `bytes` bytes that the event sends.
    ///
    /// # Errors
    /// [`Refusal::QuotaExceeded`].
    pub fn send(&mut self, bytes: usize, limits: &Limits) -> Result<(), Refusal> {
        self.charge(bytes + RECORD_OVERHEAD, limits)?;
        if self.records >= limits.event_records {
            return Err(Refusal::QuotaExceeded);
        }
        self.records += 1;
        Ok(())
    }

    /// Counts bytes that the event stores: key and value of an entry, or the key of a deletion.
    ///
    /// # Errors
    /// [`Refusal::QuotaExceeded`].
    pub fn charge(&mut self, bytes: usize, limits: &Limits) -> Result<(), Refusal> {
        if self.bytes + bytes > limits.event_bytes {
            return Err(Refusal::QuotaExceeded);
        }
        self.bytes += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_measured_with_its_own_key_and_headers() {
        let headers = [("name", b"value".as_slice())];
        assert_eq!(record_bytes(Some(b"key"), b"1234", headers.into_iter()), 16);
        assert_eq!(record_bytes(None, b"1234", [].into_iter()), 4);
        assert_eq!(LIMITS.check_record(LIMITS.record_bytes), Ok(()));
        let above = LIMITS.record_bytes + 1;
        assert_eq!(LIMITS.check_record(above), Err(Refusal::TooLarge));
        assert_eq!(LIMITS.check_entry(above), Err(Refusal::TooLarge));
    }

    #[test]
    fn records_and_entries_share_the_byte_quota_of_an_event() {
        let mut budget = EventBudget::default();
        assert_eq!(budget.charge(LIMITS.event_bytes - 200, &LIMITS), Ok(()));
        assert_eq!(budget.send(72, &LIMITS), Ok(()));
        assert_eq!(budget.charge(1, &LIMITS), Err(Refusal::QuotaExceeded));
        assert_eq!(budget.charge(0, &LIMITS), Ok(()));
    }
}
