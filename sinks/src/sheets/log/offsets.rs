//! Which offsets of a partition are done: all below `low`, and runs above it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The offsets of one partition that need not be read again.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(from = "StoredOffsets", into = "StoredOffsets")]
pub(crate) struct DoneOffsets {
    low: i64,
    above: BTreeMap<i64, Run>,
}

/// Adjacent offsets, keyed by the first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Run {
    end: i64,
    /// Whether a row of the sheet is among them. The other offsets belong to control records of
    /// transactions and to dead letters. After a crash they may be read again, so runs of them
    /// alone are not stored.
    has_row: bool,
}

/// The form in the checkpoint: `low`, then the first offset and the end of each run that has a row.
type StoredOffsets = (i64, Vec<(i64, i64)>);

// === impl DoneOffsets ===

impl DoneOffsets {
    /// All offsets below `low`.
    pub(crate) fn below(low: i64) -> Self {
        Self {
            low,
            above: BTreeMap::new(),
        }
    }

    /// The lowest offset that is not done: where reading must begin.
    pub(crate) fn low(&self) -> i64 {
        self.low
    }

    /// The number of runs above `low` that have a row.
    pub(crate) fn gaps(&self) -> usize {
        self.above.values().filter(|run| run.has_row).count()
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
                has_row: true,
            },
        );
    }

    /// Adds the offsets from `start` up to `end`, none of which has a row.
    pub(crate) fn add_skipped(&mut self, start: i64, end: i64) {
        if start < end {
            self.add(
                start,
                Run {
                    end,
                    has_row: false,
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
                has_row: run.has_row || other.has_row,
            };
        }
        if start <= self.low {
            self.low = self.low.max(run.end);
        } else {
            self.above.insert(start, run);
        }
    }
}

impl From<StoredOffsets> for DoneOffsets {
    fn from((low, runs): StoredOffsets) -> Self {
        let mut offsets = Self::below(low);
        for (start, end) in runs {
            offsets.add(start, Run { end, has_row: true });
        }
        offsets
    }
}

impl From<DoneOffsets> for StoredOffsets {
    fn from(offsets: DoneOffsets) -> Self {
        let runs = offsets.above.into_iter().filter(|(_, run)| run.has_row);
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
    fn adjacent_runs_merge_and_low_moves_past_them() {
        let mut offsets = DoneOffsets::below(5);
        offsets.add_row(9);
        offsets.add_row(7);
        assert!(offsets.contains(4) && offsets.contains(7) && offsets.contains(9));
        assert!(!offsets.contains(5) && !offsets.contains(8) && !offsets.contains(10));
        offsets.add_row(8);
        assert_eq!(StoredOffsets::from(offsets.clone()), (5, vec![(7, 10)]));
        offsets.add_row(5);
        assert_eq!(offsets.low(), 6);
        offsets.add_skipped(6, 7);
        assert_eq!(StoredOffsets::from(offsets), (10, vec![]));
    }

    #[test]
    fn control_records_connect_runs_and_are_not_stored_alone() {
        let mut offsets = DoneOffsets::below(0);
        offsets.add_skipped(3, 4);
        assert_eq!(StoredOffsets::from(offsets.clone()), (0, vec![]));
        assert_eq!(offsets.gaps(), 0);
        offsets.add_row(2);
        offsets.add_row(4);
        assert_eq!(offsets.gaps(), 1);
        assert_eq!(StoredOffsets::from(offsets.clone()), (0, vec![(2, 5)]));
        assert_eq!(
            DoneOffsets::from(StoredOffsets::from(offsets.clone())).low(),
            offsets.low()
        );
    }

    #[test]
    fn offsets_below_low_change_nothing() {
        let mut offsets = DoneOffsets::below(10);
        offsets.add_row(3);
        offsets.add_skipped(8, 8);
        assert_eq!(offsets, DoneOffsets::below(10));
    }
}
