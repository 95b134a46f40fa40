//! How the entries of a store expire, and which entries one scan returns.

use crate::limits::LIMITS;

/// Counts the entries of one scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanPage {
    limit: u32,
    entries: u32,
    bytes: usize,
}

/// When an entry expires that an event of `timestamp_ms` stores for `ttl_ms`; both in milliseconds,
/// the result since 1970.
pub fn expires_ms(timestamp_ms: i64, ttl_ms: u64) -> i64 {
    timestamp_ms.saturating_add(i64::try_from(ttl_ms).unwrap_or(i64::MAX))
}

/// Whether an event of `now_ms` sees an entry. The expiry itself is already too late.
pub fn is_alive(expires_ms: Option<i64>, now_ms: i64) -> bool {
    expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
}

/// The smallest key that a scan of `prefix` after the key `after` may return.
pub fn scan_start(prefix: &[u8], after: Option<&[u8]>) -> Vec<u8> {
    // The smallest key after another one has a zero byte appended.
    let after = after.map(|after| [after, &[0]].concat());
    let after = after.filter(|after| after.as_slice() > prefix);
    after.unwrap_or_else(|| prefix.to_vec())
}

// === impl ScanPage ===

impl ScanPage {
    /// A page of at most `limit` entries.
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            entries: 0,
            bytes: 0,
        }
    }

    /// Counts the next entry, of `bytes` bytes of key and value. False if the page ends before it.
    pub fn take(&mut self, bytes: usize) -> bool {
        self.entries = self.entries.saturating_add(1);
        self.bytes += bytes;
        self.entries <= self.limit && !self.is_too_large()
    }

    /// Whether the page exceeds [`Limits::scan_bytes`](crate::Limits::scan_bytes). The host then
    /// stops the plug-in, because it cannot report the error in the result.
    pub fn is_too_large(&self) -> bool {
        self.bytes > LIMITS.scan_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_expires_at_the_time_of_the_event_plus_its_ttl() {
        assert_eq!(expires_ms(1_000, 500), 1_500);
        assert_eq!(expires_ms(1_000, u64::MAX), i64::MAX);
        assert!(is_alive(Some(1_500), 1_499) && !is_alive(Some(1_500), 1_500));
        assert!(is_alive(None, i64::MAX));
    }

    #[test]
    fn a_scan_starts_at_its_prefix_or_after_the_last_key() {
        assert_eq!(scan_start(b"b/", None), b"b/");
        assert_eq!(scan_start(b"b/", Some(b"a")), b"b/");
        assert_eq!(scan_start(b"b/", Some(b"b/1")), b"b/1\0");
        assert_eq!(scan_start(b"b", Some(b"b")), b"b\0");
    }

    #[test]
    fn a_page_ends_at_its_limit_or_when_it_is_too_large() {
        let mut page = ScanPage::new(2);
        assert!(page.take(1) && page.take(1) && !page.take(1));
        let mut page = ScanPage::new(9);
        assert!(!page.take(LIMITS.scan_bytes + 1) && page.is_too_large());
    }
}
