//! The events that changed a key of a store, as a record of the changelog names them. The changes
//! of one transaction are merged, so that several events may have caused one record.

use std::{fmt, str::FromStr};

/// Offsets of one input topic of a step. Their partition has the same number as the partition of
/// the changelog record, because the inputs of a step with stores are co-partitioned.
///
/// The value of the header is `TOPIC@OFFSETS`, such as `orders@17-40,43`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Provenance {
    topic: String,
    /// First and last offset of each range, ascending, with gaps between the ranges.
    ranges: Vec<(i64, i64)>,
}

/// The text is not a [`Provenance`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the provenance of a change is TOPIC@OFFSETS, such as orders@17-40,43")]
pub struct ParseProvenanceError;

/// Maximum number of ranges, so that the header does not become larger than the record. At the
/// limit, the last range grows and covers the gaps: the provenance may then include events that
/// changed another key, but it never omits one.
const RANGE_LIMIT: usize = 64;

// === impl Provenance ===

impl Provenance {
    /// Creates a provenance from at least one offset. `offsets` must be ascending and may repeat.
    pub fn new(topic: impl Into<String>, offsets: impl IntoIterator<Item = i64>) -> Self {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for offset in offsets {
            let is_full = ranges.len() == RANGE_LIMIT;
            match ranges.last_mut() {
                Some((_, last)) if is_full || offset <= *last + 1 => *last = offset.max(*last),
                _ => ranges.push((offset, offset)),
            }
        }
        let topic = topic.into();
        Self { topic, ranges }
    }

    /// Returns whether the event at this offset, in the partition with the number of the record's
    /// partition, is one of them.
    pub fn includes(&self, topic: &str, offset: i64) -> bool {
        let contains = |(first, last): &(i64, i64)| (*first..=*last).contains(&offset);
        self.topic == topic && self.ranges.iter().any(contains)
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '@';
        f.write_str(&self.topic)?;
        for (first, last) in &self.ranges {
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ',';
        }
        Ok(())
    }
}

impl FromStr for Provenance {
    type Err = ParseProvenanceError;

    fn from_str(text: &str) -> Result<Self, ParseProvenanceError> {
        let (topic, offsets) = text.split_once('@').ok_or(ParseProvenanceError)?;
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let range = (first.parse().ok()?, last.parse().ok()?);
            (range.0 <= range.1).then_some(range)
        };
        let ranges: Option<Vec<_>> = offsets.split(',').map(range).collect();
        Ok(Self {
            topic: topic.to_owned(),
            ranges: ranges.ok_or(ParseProvenanceError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provenance_round_trips_with_every_offset() {
        let offsets = [17, 17, 18, 19, 43, 50, 51];
        let provenance = Provenance::new("orders", offsets);
        assert_eq!(provenance.to_string(), "orders@17-19,43,50-51");
        assert_eq!(provenance.to_string().parse(), Ok(provenance.clone()));
        for offset in 0..60 {
            let is_included = offsets.contains(&offset);
            assert_eq!(
                provenance.includes("orders", offset),
                is_included,
                "{offset}"
            );
        }
        assert!(!provenance.includes("other", 17));
        for invalid in ["", "orders", "orders@", "orders@1-", "orders@2-1", "o@1,,2"] {
            assert_eq!(
                invalid.parse::<Provenance>(),
                Err(ParseProvenanceError),
                "{invalid}"
            );
        }
    }

    #[test]
    fn at_the_range_limit_no_offset_is_omitted() {
        let offsets: Vec<i64> = (0..500).map(|n| 3 * n).collect();
        let provenance = Provenance::new("orders", offsets.iter().copied());
        assert!(provenance.to_string().len() < 1000, "{provenance}");
        let has_all = offsets
            .iter()
            .all(|offset| provenance.includes("orders", *offset));
        assert!(
            has_all && !provenance.includes("orders", 1) && !provenance.includes("orders", 1498)
        );
    }
}
