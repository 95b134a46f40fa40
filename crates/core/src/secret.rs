//! Text that must not appear in logs.

use std::fmt;

/// A text that may contain a password. Its `Debug` output is `(secret)`.
///
/// ```
/// use formline_core::Secret;
///
/// let url = Secret::new("postgres://app:s3cret@db/forms");
/// assert_eq!(format!("{url:?}"), "(secret)");
/// assert_eq!(url.expose(), "postgres://app:s3cret@db/forms");
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

// === impl Secret ===

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for the client that authenticates with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
