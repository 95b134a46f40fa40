//! Parsers of durations on the command line, such as `2s` or `10m`.

use std::{ops::RangeInclusive, time::Duration};

use jiff::SignedDuration;

/// A refresh interval: short enough to be live, long enough not to load the processes.
pub(super) fn interval(text: &str) -> Result<Duration, &'static str> {
    let allowed = Duration::from_millis(200)..=Duration::from_secs(60);
    within(text, &allowed).ok_or("expected a duration from 200ms to 1m, such as 2s")
}

/// A timeout of at most a day.
pub(super) fn up_to_a_day(text: &str) -> Result<Duration, &'static str> {
    let allowed = Duration::ZERO..=Duration::from_secs(86_400);
    within(text, &allowed).ok_or("expected a duration of at most a day, such as 30s or 10m")
}

fn within(text: &str, allowed: &RangeInclusive<Duration>) -> Option<Duration> {
    let signed: SignedDuration = text.parse().ok()?;
    let duration = signed.try_into().ok()?;
    allowed.contains(&duration).then_some(duration)
}
