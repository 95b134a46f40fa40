//! Short forms of plug-in digests.

/// Digits of a digest that are printed: enough for an app to name the plug-in by.
const DIGITS: usize = 12;

/// The first digits of a digest.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..DIGITS).unwrap_or(digest)
}
