//! How long a sink waits after each failed attempt.

use std::time::Duration;

use crate::config::{ConfigKey, SectionReader, parse_delay};

/// Reads a `schedule`. Empty items are skipped: `""` alone is a schedule without delays.
pub(super) fn read(section: &mut SectionReader<'_>, key: &'static ConfigKey) -> Vec<Duration> {
    let written = section.texts(key);
    let delays: Vec<_> = written
        .iter()
        .filter_map(|text| parse_delay(text))
        .collect();
    if !delays.is_sorted() {
        let remedy = "write no delay that is shorter than the one before";
        section.report(key, "`schedule` is not in ascending order", remedy);
    }
    delays
}
