//! A point in time on the command line: absolute, or as a duration before now.

use std::str::FromStr;

use jiff::{Span, SpanRelativeTo, Timestamp};

/// A point in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TimeArg(pub(crate) Timestamp);

/// The text is neither a time nor a duration.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct InvalidTime;

// === impl TimeArg ===

impl FromStr for TimeArg {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        if let Ok(time) = text.parse() {
            return Ok(Self(time));
        }
        let span: Span = text.parse().map_err(|_| InvalidTime)?;
        // A day has 24 hours, regardless of time zones.
        let ago = span.to_duration(SpanRelativeTo::days_are_24_hours());
        let ago = ago.map_err(|_| InvalidTime)?.abs();
        let time = Timestamp::now().checked_sub(ago);
        Ok(Self(time.map_err(|_| InvalidTime)?))
    }
}

// === impl InvalidTime ===

impl std::fmt::Display for InvalidTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "expected a time such as 2026-11-21T08:00:00Z, or a duration such as 90s, 15m, 24h or 7d",
        )
    }
}

impl std::error::Error for InvalidTime {}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    #[test]
    fn times_and_durations_are_accepted() {
        let time = "2026-11-21T08:00:00Z".parse().expect("a time");
        assert_eq!("2026-11-21T09:00:00+01:00".parse(), Ok(TimeArg(time)));
        let two_days_ago = "2d".parse::<TimeArg>().expect("a duration").0;
        let difference = Timestamp::now() - 48.hours() - two_days_ago;
        assert!(difference.get_seconds().abs() < 60, "{difference}");
        for wrong in ["", "soon", "2026-11-21", "5", "3 months", "99999999999h"] {
            assert_eq!(wrong.parse::<TimeArg>(), Err(InvalidTime), "{wrong}");
        }
    }
}
