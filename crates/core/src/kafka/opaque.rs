//! Lets a type that contains a librdkafka client derive `Debug`.

use std::{fmt, ops::Deref};

/// A value whose type does not implement `Debug`. Its `Debug` output is `..`.
pub(super) struct Opaque<T>(pub(super) T);

// === impl Opaque ===

impl<T> Deref for Opaque<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Opaque<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}
