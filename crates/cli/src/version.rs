//! The version of this build. `build.rs` provides the commit and its date.

/// Version, commit and build date, as `formline --version` prints them.
pub(crate) const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("FORMLINE_BUILD_COMMIT"),
    " ",
    env!("FORMLINE_BUILD_DATE"),
    ")"
);
