//! The mark: what a tab knows of itself. It stands in the tab's developer metadata, is written in one atomic batch
//! with the rows, and is the only truth about what the sheet holds.
//!
//! Marks form a chain. The mark of version n has the metadata id `tab * 2^24 + n`, and Google refuses an id that
//! exists; so of all batches that continue version n - copies in the network, resends, batches of an owner that lost
//! the tab - one is applied. Older marks are stripped to the time at which they were replaced, and stay until no
//! request with their id can be under way any more.
//!
//! The last mark of a tab in a full spreadsheet closes it: it names the spreadsheet in which the sink goes on. Nothing
//! can be written behind it, since every batch that continues the mark before it has its id.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use formline_core::record::Partition;
use serde::{Deserialize, Serialize};

use super::offsets::Offsets;

/// The metadata key of every mark. Short, because it counts towards Google's limit with each mark.
pub(crate) const KEY: &str = "formline";

/// How long old marks stay. Google gives up on a request after 180 s and we on the answer after 200 s.
pub(crate) const KEEP_MS: i64 = 600_000;

/// A batch is not sent when the newest mark was read longer ago than this: it must be applied or dead before the
/// mark that would refuse it is gone (200 s here, 200 s until we give up, 180 s inside Google: less than `KEEP_MS`).
pub(crate) const FRESH_MS: i64 = 200_000;

/// Google keeps 30,000 characters of metadata for a tab. Old marks have 18 characters each, and are at most `MANY` and
/// those that come slowly: 13,600 characters.
pub(crate) const MAX_BYTES: usize = 16_000;

/// So many marks are replaced within `KEEP_MS` as fast as the quota grants. With Google's default they are never more.
const MANY: usize = 650;

/// Between two writes to a tab that has as many. None of the old marks can go sooner: a request with its id, still under
/// way, would be applied.
const SLOW_MS: i64 = KEEP_MS / 100;

/// Google's limit of cells in a spreadsheet, all its tabs and the empty cells included.
pub(crate) const MAX_CELLS: u64 = 10_000_000;

/// With so many cells the sink goes on in the next spreadsheet. What is left is for people, and for batches whose cells
/// are not counted yet.
pub(crate) const ENOUGH_CELLS: u64 = MAX_CELLS / 10 * 9;

/// The part of `MAX_BYTES` for the names of columns and the digests of their headings.
pub(crate) const MAX_COLUMN_BYTES: usize = 8_000;

const VERSION_BITS: u32 = 24;
const MAX_TAB: i32 = (1 << (31 - VERSION_BITS)) - 1;

/// What the sheet holds.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub(crate) struct Mark {
    /// Consumer group of the sink that the tab belongs to.
    pub(crate) sink: String,
    /// The spreadsheet and tab that it was written for: copies take marks along.
    pub(crate) spreadsheet: String,
    pub(crate) sheet: i32,
    /// When it was made, in milliseconds since 1970.
    pub(crate) at: i64,
    /// The same of the sink's first mark. If a person deletes the tab and has the sink make another one, in the same place
    /// and of the same name, what was kept for the first one is known by it to be of no use.
    #[serde(default)]
    pub(crate) began: i64,
    /// Rows that were ever written below the heading.
    pub(crate) rows: u64,
    /// The latest submission among them, by time (microseconds) and id. An earlier one that follows is late.
    pub(crate) last: (i64, String),
    /// Names of the columns, in order, behind the fixed ones.
    pub(crate) columns: Vec<String>,
    /// Digests of what was written above them (`headings`). Marks of an older version have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) headings: Vec<u16>,
    /// What need not be read again.
    pub(crate) positions: Positions,
    /// The spreadsheet in which the sink goes on: this tab is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// Offsets that are done with, by partition.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub(crate) struct Positions(BTreeMap<String, BTreeMap<i32, Offsets>>);

/// One entry of developer metadata with our key, as read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) id: i32,
    pub(crate) sheet: i32,
    pub(crate) value: String,
}

/// The newest mark of a tab, as far as is known.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: i32,
    pub(crate) mark: Mark,
    /// When it was known to be the newest, in milliseconds since 1970.
    pub(crate) read_ms: i64,
    /// Ids of the marks before it, and when each was replaced.
    pub(crate) older: Vec<(i32, i64)>,
    /// Cells of the spreadsheet when it was found, and what was added since.
    pub(crate) cells: u64,
}

/// What the marks of a spreadsheet say about one sink.
#[expect(clippy::large_enum_variant, reason = "a sink has one at a time")]
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// The newest mark of its tab.
    Known(Known),
    /// It has no tab.
    Nothing,
    /// Its marks were written for the spreadsheet of that id: this one is a copy.
    CopyOf(String),
}

// === impl Mark ===

impl Mark {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("its keys are texts and numbers")
    }

    /// The first mark of the tab that goes on where this one was closed. Columns are added anew, with their headings.
    pub(crate) fn opening(&self, spreadsheet: &str, sheet: i32, at: i64) -> Self {
        Self {
            sink: self.sink.clone(),
            spreadsheet: spreadsheet.to_owned(),
            sheet,
            at,
            began: if self.began == 0 { at } else { self.began },
            last: self.last.clone(),
            positions: self.positions.clone(),
            ..Self::default()
        }
    }
}

// === impl Positions ===

impl Positions {
    pub(crate) fn get(&self, partition: &Partition) -> Option<&Offsets> {
        self.0.get(&*partition.topic)?.get(&partition.number)
    }

    /// The offsets of a partition; if it is new, reading begins at `low`.
    pub(crate) fn of(&mut self, partition: &Partition, low: i64) -> &mut Offsets {
        let numbers = self.0.entry((*partition.topic).to_owned()).or_default();
        numbers
            .entry(partition.number)
            .or_insert_with(|| Offsets::below(low))
    }

    /// Notes what was read of a partition: of these offsets, those that do not wait are done with.
    pub(crate) fn read_elsewhere(
        &mut self,
        partition: &Partition,
        read: Range<i64>,
        waiting: &BTreeSet<i64>,
    ) {
        let done = self.of(partition, read.start);
        let mut from = read.start;
        for &offset in waiting.range(read.clone()) {
            done.add_rowless(from, offset);
            from = offset + 1;
        }
        done.add_rowless(from, read.end);
    }

    /// Runs of rows that were written although others before them were not.
    pub(crate) fn gaps(&self) -> usize {
        let offsets = self.0.values().flat_map(BTreeMap::values);
        offsets.map(Offsets::gaps).sum()
    }

    /// Where reading must begin, by topic and number of the partition.
    pub(crate) fn lows(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        self.0.iter().flat_map(|(topic, numbers)| {
            numbers
                .iter()
                .map(|(number, offsets)| (topic.as_str(), *number, offsets.low()))
        })
    }
}

// === impl Known ===

impl Known {
    /// The id of the mark that follows; none if the tab has used up all its versions but the one that may close it.
    pub(crate) fn next_id(&self) -> Option<i32> {
        (self.id < self.last_id() - 1).then(|| self.id + 1)
    }

    /// The id of the mark that closes the tab, which is the one that any other batch would have.
    pub(crate) fn closing_id(&self) -> Option<i32> {
        (self.id < self.last_id()).then(|| self.id + 1)
    }

    fn last_id(&self) -> i32 {
        self.id | ((1 << VERSION_BITS) - 1)
    }

    pub(crate) fn is_fresh(&self, now_ms: i64) -> bool {
        (0..=FRESH_MS).contains(&(now_ms - self.read_ms))
    }

    /// How long a batch that is made at `at` must wait, or old marks would leave no room for new ones.
    pub(crate) fn pause_ms(&self, at: i64, now_ms: i64) -> i64 {
        let kept = self.older.iter().filter(|(_, old)| *old >= at - KEEP_MS);
        if kept.count() < MANY {
            return 0;
        }
        (self.read_ms + SLOW_MS - now_ms).clamp(0, SLOW_MS)
    }
}

// === impl Found ===

impl Found {
    /// Looks for the newest mark of `sink`, wherever its tab stands and whatever it is called by now.
    pub(crate) fn among(entries: &[Entry], sink: &str, spreadsheet: &str, read_ms: i64) -> Self {
        let marks = entries.iter().filter_map(|entry| {
            let mark: Mark = serde_json::from_str(&entry.value).ok()?;
            (mark.sink == sink && mark.sheet == entry.sheet).then_some((entry.id, mark))
        });
        match marks.max_by_key(|(id, _)| *id) {
            None => Self::Nothing,
            Some((_, mark)) if mark.spreadsheet != spreadsheet => Self::CopyOf(mark.spreadsheet),
            Some((id, mark)) => {
                let older = older(entries, mark.sheet);
                Self::Known(Known {
                    id,
                    mark,
                    read_ms,
                    older,
                    cells: 0,
                })
            }
        }
    }
}

/// Marks that were stripped to the second in which they were replaced.
fn older(entries: &[Entry], sheet: i32) -> Vec<(i32, i64)> {
    let entries = entries.iter().filter(|entry| entry.sheet == sheet);
    entries
        .filter_map(|entry| Some((entry.id, entry.value.parse::<i64>().ok()? * 1000)))
        .collect()
}

/// The id of the first mark of a new tab: of the first number that no tab of the spreadsheet uses. None if there are
/// 128 tabs with marks.
pub(crate) fn first_id(entries: &[Entry]) -> Option<i32> {
    let used: BTreeSet<i32> = entries
        .iter()
        .map(|entry| entry.id >> VERSION_BITS)
        .collect();
    let free = (0..=MAX_TAB).find(|tab| !used.contains(tab))?;
    Some((free << VERSION_BITS) + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn entry(id: i32, sheet: i32, sink: &str, spreadsheet: &str) -> Entry {
        let (sink, spreadsheet) = (sink.to_owned(), spreadsheet.to_owned());
        let value = Mark {
            sink,
            spreadsheet,
            sheet,
            ..Mark::default()
        }
        .to_json();
        Entry { id, sheet, value }
    }

    #[test]
    fn the_newest_mark_of_the_sink_is_found_among_all() {
        let stripped = Entry {
            id: 1,
            sheet: 7,
            value: "1700000000".into(),
        };
        let copied_tab = Entry {
            sheet: 9,
            ..entry(99, 7, "ours", "s")
        };
        let entries = [
            stripped,
            entry(2, 7, "ours", "s"),
            entry(50, 8, "other", "s"),
            copied_tab,
        ];
        let Found::Known(known) = Found::among(&entries, "ours", "s", 5) else {
            panic!("no mark")
        };
        assert_eq!((known.id, known.older), (2, vec![(1, 1_700_000_000_000)]));
        assert!(matches!(
            Found::among(&entries, "third", "s", 5),
            Found::Nothing
        ));
        assert!(
            matches!(Found::among(&entries, "ours", "copy", 5), Found::CopyOf(id) if id == "s")
        );
    }

    #[test]
    fn tabs_of_one_spreadsheet_have_ids_of_their_own() {
        assert_eq!(first_id(&[]), Some(1));
        let first = entry(12, 7, "ours", "s");
        assert_eq!(first_id(std::slice::from_ref(&first)), Some((1 << 24) + 1));
        let all: Vec<_> = (0..128)
            .map(|tab| Entry {
                id: (tab << 24) + 1,
                ..first.clone()
            })
            .collect();
        assert_eq!(first_id(&all), None);
    }

    #[test]
    fn versions_end_before_the_ids_of_the_next_tab() {
        let known = |id| Known {
            id,
            mark: Mark::default(),
            read_ms: 0,
            older: vec![],
            cells: 0,
        };
        assert_eq!(known(1).next_id(), Some(2));
        assert_eq!(known((1 << 24) - 3).next_id(), Some((1 << 24) - 2));
        assert_eq!(known((1 << 24) - 2).next_id(), None);
        assert_eq!(known((1 << 24) - 2).closing_id(), Some((1 << 24) - 1));
        assert_eq!(known((1 << 24) - 1).closing_id(), None);
        assert_eq!(known(i32::MAX).next_id(), None);
    }

    #[test]
    fn a_mark_comes_back_from_its_text() {
        let partition = Partition {
            topic: "rows".into(),
            number: 3,
        };
        let mut mark = Mark {
            columns: vec!["roll".into()],
            ..Mark::default()
        };
        mark.positions.of(&partition, 5).add_row(7);
        let read: Mark = serde_json::from_str(&mark.to_json()).unwrap();
        assert_eq!(read, mark);
        assert_eq!(read.positions.get(&partition).unwrap().low(), 5);
    }
}
