//! How long a sink waits after each attempt that has failed.

use crate::config::SectionReader;
use std::time::Duration;

use jiff::SignedDuration;

/// Delays of one schedule. The topic where records wait has a partition for each that there could be: Kafka cannot take
/// partitions away when a schedule becomes shorter.
pub(super) const MAX_DELAYS: usize = 20;

/// A longer wait than this is for a person: the dead letter.
pub(super) const MAX_DELAY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The key `schedule`, or these seconds.
pub(super) fn read(section: &mut SectionReader<'_>, default: &[u64]) -> Vec<Duration> {
    let key = "schedule";
    let Some(written) = section.optional_texts(key) else {
        return default.iter().copied().map(Duration::from_secs).collect();
    };
    let mut delays: Vec<Duration> = Vec::with_capacity(written.len());
    for text in written.iter().filter(|text| !text.is_empty()) {
        match text.parse::<SignedDuration>() {
            Ok(delay) if delay > SignedDuration::ZERO && delay <= MAX_DELAY => {
                delays.push(delay.unsigned_abs());
            }
            _ => {
                let remedy = "write delays of up to seven days, such as [\"5s\", \"10m\", \"24h\"]";
                section.mistake(key, &format!("`{text}` is not a delay"), remedy);
            }
        }
    }
    let remedy = match () {
        () if written.is_empty() => "write at least one delay, or leave `schedule` away",
        () if written.len() > MAX_DELAYS => "write at most 20 delays",
        () if !delays.is_sorted() => "write no delay that is shorter than the one before",
        () => return delays,
    };
    section.mistake(key, "this is no schedule", remedy);
    delays
}
