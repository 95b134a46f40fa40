//! Which offsets of a partition are done with: all below `low`, and runs above it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The offsets of one partition that need not be read again.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(from = "Written", into = "Written")]
pub(crate) struct Offsets {
    low: i64,
    above: BTreeMap<i64, Run>,
}

/// Adjacent offsets, keyed by the first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Run {
    end: i64,
    /// Whether a row of the sheet is among them. Control records of transactions have offsets too, and after a crash
    /// nobody needs to know of those (or of dead letters) above `low`; leaving them out keeps the mark short.
    written: bool,
}

/// As it stands in the mark: `low`, then each run with rows as first offset and end.
type Written = (i64, Vec<(i64, i64)>);

// === impl Offsets ===

impl Offsets {
    /// Everything below `low` is done with.
    pub(crate) fn below(low: i64) -> Self {
        Self {
            low,
            above: BTreeMap::new(),
        }
    }

    /// The lowest offset that is not done with: where reading must begin.
    pub(crate) fn low(&self) -> i64 {
        self.low
    }

    /// Runs with rows above `low`.
    pub(crate) fn gaps(&self) -> usize {
        self.above.values().filter(|run| run.written).count()
    }

    pub(crate) fn contains(&self, offset: i64) -> bool {
        let run = self.above.range(..=offset).next_back();
        offset < self.low || run.is_some_and(|(_, run)| offset < run.end)
    }

    /// Adds the offset of a row that the sheet holds.
    pub(crate) fn add_row(&mut self, offset: i64) {
        self.add(
            offset,
            Run {
                end: offset + 1,
                written: true,
            },
        );
    }

    /// Adds offsets from `start` up to `end` that bring no row.
    pub(crate) fn add_rowless(&mut self, start: i64, end: i64) {
        if start < end {
            self.add(
                start,
                Run {
                    end,
                    written: false,
                },
            );
        }
    }

    fn add(&mut self, mut start: i64, mut run: Run) {
        while let Some((&first, &other)) = self.above.range(..=run.end).next_back()
            && other.end >= start
        {
            self.above.remove(&first);
            start = start.min(first);
            run = Run {
                end: run.end.max(other.end),
                written: run.written || other.written,
            };
        }
        if start <= self.low {
            self.low = self.low.max(run.end);
        } else {
            self.above.insert(start, run);
        }
    }
}

impl From<Written> for Offsets {
    fn from((low, runs): Written) -> Self {
        let mut offsets = Self::below(low);
        for (start, end) in runs {
            offsets.add(start, Run { end, written: true });
        }
        offsets
    }
}

impl From<Offsets> for Written {
    fn from(offsets: Offsets) -> Self {
        let runs = offsets.above.into_iter().filter(|(_, run)| run.written);
        (
            offsets.low,
            runs.map(|(start, run)| (start, run.end)).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_grow_together_and_low_moves_over_them() {
        let mut offsets = Offsets::below(5);
        offsets.add_row(9);
        offsets.add_row(7);
        assert!(offsets.contains(4) && offsets.contains(7) && offsets.contains(9));
        assert!(!offsets.contains(5) && !offsets.contains(8) && !offsets.contains(10));
        offsets.add_row(8);
        assert_eq!(Written::from(offsets.clone()), (5, vec![(7, 10)]));
        offsets.add_row(5);
        assert_eq!(offsets.low(), 6);
        offsets.add_rowless(6, 7);
        assert_eq!(Written::from(offsets), (10, vec![]));
    }

    #[test]
    fn control_records_bridge_rows_and_are_not_remembered_alone() {
        let mut offsets = Offsets::below(0);
        offsets.add_rowless(3, 4);
        assert_eq!(Written::from(offsets.clone()), (0, vec![]));
        assert_eq!(offsets.gaps(), 0);
        offsets.add_row(2);
        offsets.add_row(4);
        assert_eq!(offsets.gaps(), 1);
        assert_eq!(Written::from(offsets.clone()), (0, vec![(2, 5)]));
        assert_eq!(
            Offsets::from(Written::from(offsets.clone())).low(),
            offsets.low()
        );
    }

    #[test]
    fn what_is_done_already_changes_nothing() {
        let mut offsets = Offsets::below(10);
        offsets.add_row(3);
        offsets.add_rowless(8, 8);
        assert_eq!(offsets, Offsets::below(10));
    }
}
