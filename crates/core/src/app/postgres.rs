//! Configuration of a sink that writes to PostgreSQL.

use crate::config::{SectionReader, keys::app_toml::sink};

/// Configuration of a PostgreSQL sink. The address of the database is a setting of the installation
/// ([`Settings::postgres_url`](crate::Settings::postgres_url)).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Postgres {
    /// The schema of its tables; created if it is missing. Several sinks may share one.
    pub schema: String,
    /// Maximum number of rows in one transaction.
    pub batch_rows: usize,
}

// === impl Postgres ===

impl Postgres {
    pub(super) fn read(section: &mut SectionReader<'_>) -> Self {
        Self {
            schema: section.text(&sink::SCHEMA),
            batch_rows: section.size(&sink::BATCH_ROWS),
        }
    }
}
