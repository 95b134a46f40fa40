//! The macro that declares a section.

/// Declares the keys of a section and `SECTION`, the list of them. A key that is declared in this
/// way cannot be absent from the list.
macro_rules! section {
    ($description:expr; $($key:ident = $entry:expr;)+) => {
        $(pub(crate) static $key: ConfigKey = $entry;)+

        /// All keys of this section.
        pub static SECTION: Section = Section {
            description: $description,
            keys: &[$(&$key),+],
        };
    };
}
