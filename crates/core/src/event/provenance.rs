//! Which events have changed a key of a store, as a record of the changelog tells it. Changes of one transaction are
//! merged, so that a record can come of many events.

use std::{fmt, str::FromStr};

/// Offsets of a step's input, all of one topic. Their partition has the number of the record's own, since inputs of a step
/// with stores are co-partitioned.
///
/// In a header it is `TOPIC@OFFSETS`, such as `orders@17-40,43`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cause {
    topic: String,
    /// First and last, rising, with gaps between them.
    ranges: Vec<(i64, i64)>,
}

/// A text that is no cause.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a cause is TOPIC@OFFSETS, such as orders@17-40,43")]
pub struct NoCause;

/// A header of more ranges would cost more than the record. At the bound the last range reaches over what lies between:
/// then an event may be named that has changed another key, and still none is left out.
const RANGES: usize = 64;

// === impl Cause ===

impl Cause {
    /// Of at least one offset, rising, as a batch has them; some may stand twice.
    pub fn of(topic: impl Into<String>, offsets: impl IntoIterator<Item = i64>) -> Self {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for offset in offsets {
            let is_full = ranges.len() == RANGES;
            match ranges.last_mut() {
                Some((_, last)) if is_full || offset <= *last + 1 => *last = offset.max(*last),
                _ => ranges.push((offset, offset)),
            }
        }
        let topic = topic.into();
        Self { topic, ranges }
    }

    /// Whether the event at this place, in the partition of the record's number, is one of them.
    pub fn includes(&self, topic: &str, offset: i64) -> bool {
        let holds = |(first, last): &(i64, i64)| (*first..=*last).contains(&offset);
        self.topic == topic && self.ranges.iter().any(holds)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = '@';
        f.write_str(&self.topic)?;
        for (first, last) in &self.ranges {
            write!(f, "{before}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            before = ',';
        }
        Ok(())
    }
}

impl FromStr for Cause {
    type Err = NoCause;

    fn from_str(text: &str) -> Result<Self, NoCause> {
        let (topic, offsets) = text.split_once('@').ok_or(NoCause)?;
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let range = (first.parse().ok()?, last.parse().ok()?);
            (range.0 <= range.1).then_some(range)
        };
        let ranges: Option<Vec<_>> = offsets.split(',').map(range).collect();
        Ok(Self {
            topic: topic.to_owned(),
            ranges: ranges.ok_or(NoCause)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_comes_back_with_every_offset() {
        let offsets = [17, 17, 18, 19, 43, 50, 51];
        let cause = Cause::of("orders", offsets);
        assert_eq!(cause.to_string(), "orders@17-19,43,50-51");
        assert_eq!(cause.to_string().parse(), Ok(cause.clone()));
        for offset in 0..60 {
            let is_one = offsets.contains(&offset);
            assert_eq!(cause.includes("orders", offset), is_one, "{offset}");
        }
        assert!(!cause.includes("other", 17));
        for wrong in ["", "orders", "orders@", "orders@1-", "orders@2-1", "o@1,,2"] {
            assert_eq!(wrong.parse::<Cause>(), Err(NoCause), "{wrong}");
        }
    }

    #[test]
    fn at_the_bound_none_is_left_out() {
        let offsets: Vec<i64> = (0..500).map(|n| 3 * n).collect();
        let cause = Cause::of("orders", offsets.iter().copied());
        assert!(cause.to_string().len() < 1000, "{cause}");
        let all_in = offsets
            .iter()
            .all(|offset| cause.includes("orders", *offset));
        assert!(all_in && !cause.includes("orders", 1) && !cause.includes("orders", 1498));
    }
}
