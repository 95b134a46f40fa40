//! A moment as a person writes it: a time, or how long ago.

use std::str::FromStr;

use jiff::{Span, SpanRelativeTo, Timestamp};

/// A point in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Moment(pub(crate) Timestamp);

/// A text that is neither a time nor a duration.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct NoMoment;

// === impl Moment ===

impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        if let Ok(time) = text.parse() {
            return Ok(Self(time));
        }
        let span: Span = text.parse().map_err(|_| NoMoment)?;
        // A day is 24 hours, whatever the clocks of some country did.
        let ago = span.to_duration(SpanRelativeTo::days_are_24_hours());
        let ago = ago.map_err(|_| NoMoment)?.abs();
        let time = Timestamp::now().checked_sub(ago).map_err(|_| NoMoment)?;
        Ok(Self(time))
    }
}

impl std::fmt::Display for NoMoment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "write a time such as 2026-11-21T08:00:00Z, or a duration such as 90s, 15m, 24h or 7d",
        )
    }
}

impl std::error::Error for NoMoment {}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    #[test]
    fn times_and_durations_are_moments() {
        let time = "2026-11-21T08:00:00Z".parse().expect("a time");
        assert_eq!("2026-11-21T09:00:00+01:00".parse(), Ok(Moment(time)));
        let two_days = "2d".parse::<Moment>().expect("a duration").0;
        let error = Timestamp::now() - 48.hours() - two_days;
        assert!(error.get_seconds().abs() < 60, "{error}");
        for wrong in ["", "soon", "2026-11-21", "5", "3 months", "99999999999h"] {
            assert_eq!(wrong.parse::<Moment>(), Err(NoMoment), "{wrong}");
        }
    }
}
