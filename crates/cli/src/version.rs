//! The version of this build. `build.rs` provides the commit and its date.

/// The commit, or `unknown`.
pub(crate) const COMMIT: &str = env!("FORMLINE_BUILD_COMMIT");

/// The date of the commit as `YYYY-MM-DD`, or `unknown`.
pub(crate) const BUILD_DATE: &str = env!("FORMLINE_BUILD_DATE");

/// Version, commit and build date, as `formline --version` prints them.
pub(crate) const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("FORMLINE_BUILD_COMMIT"),
    " ",
    env!("FORMLINE_BUILD_DATE"),
    ")"
);
